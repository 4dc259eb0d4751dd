"""The benchmark of policies: weights decide what is cloned, trials go on where they stopped, figures are paired."""

import json

import numpy as np
import policy
import pytest
from efficiency.course import SETTINGS
from policies import pool as pools
from policies import trial as trials
from policies.asking import asked_of, peer_rewards
from policies.choosing import best, by_itself, divide, soft
from policies.cloning import clone
from policies.pool import EVERY, Pool, pool_of
from policies.progress import FORMS, PROGRESS, step_weights
from policies.seeing import HAND, Sight, arrivals_seeing, clone_seeing
from policies.summary import figures, leads, missed, table
from policies.trial import (
    AGAIN,
    BLIND,
    CHOOSING,
    CORE,
    EVERYTHING,
    OURS,
    PEER_ARMS,
    PICTURES,
    SEEING,
    SUCCESSES,
    TRUTH,
    Trial,
)
from sample_pool.rollout import Rollout, make_environment

from ml_backend.reward.model import Dense

ROWS = 150
NEVER, LATE, EARLY = [ROWS] * 50, [100] * 50, [40] * 50


def test_a_policy_does_what_the_weighted_rows_did():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 3)).astype(np.float32)
    good = np.arange(400) < 200
    actions = np.where(good[:, None], states[:, :1], -states[:, :1]).astype(np.float32)
    for weights, sign in ((good, 1.0), (~good, -1.0)):
        policy = clone(states, actions, weights.astype(float), seed=0, steps=400)
        asked = rng.normal(size=(50, 3))
        assert np.corrcoef([policy(one)[0] for one in asked], sign * asked[:, 0])[0, 1] > 0.95


def test_the_same_seed_gives_the_same_policy_whatever_size_the_weights_have():
    rng = np.random.default_rng(0)
    states, actions, weights = rng.normal(size=(60, 2)), rng.normal(size=(60, 1)), rng.random(60)
    first, again = (clone(states, actions, w, seed=3, steps=20) for w in (weights, 7 * weights))
    assert first(states[0]) == pytest.approx(again(states[0]), abs=1e-6)


def test_the_cut_takes_the_best_and_soft_weights_rise_with_the_reward():
    rewards = np.random.default_rng(0).permutation(20).astype(float)
    assert set(rewards[best(rewards) > 0]) == set(range(14, 20))
    order = np.argsort(rewards)
    assert (np.diff(soft(rewards)[order]) >= 0).all() and soft(rewards).max() <= 20.0


def test_the_rule_takes_soft_weights_only_where_many_are_good():
    rng = np.random.default_rng(0)
    for good in (0.2, 0.7):
        high = np.arange(100) < 100 * good
        rewards, facts = np.where(high, 4.0, 0.0) + rng.normal(0, 0.3, 100), {}
        weights = by_itself(rewards, facts)
        assert facts["good"] == pytest.approx(good)
        assert weights == pytest.approx(soft(rewards) if good == 0.7 else best(rewards))
    assert divide(np.array([0.0, 0.1, 5.0, 5.1, 5.2])) == pytest.approx(0.1)


def made(**changed):
    """One trial in which ours is as good as the truth."""
    arms = dict.fromkeys(CORE, NEVER) | {OURS: EARLY, CHOOSING: EARLY, TRUTH: EARLY, SUCCESSES: LATE}
    return arms | changed


def test_success_within_half_the_time_is_the_stricter_one():
    own = figures({("door", 0): made()})[SUCCESSES]
    assert (own["success"], own["half the time"], own["tasks"]) == (1.0, 0.0, {"door": 1.0})
    half = figures({("door", 0): made(), ("door", 1): made(**{SUCCESSES: NEVER})})[SUCCESSES]
    assert half["success"] == 0.5 and half["success 95"][0] <= 0.0 + 1e-9 and half["success 95"][1] >= 1.0 - 1e-9


def test_intervals_are_over_seeds_not_over_tasks_or_starts_and_one_seed_has_none():
    """Differences of 1.0, 0.8 and 0.6 by seed, though tasks differ: Student's t says 0.8 ± 4.303 · 0.2 / √3."""
    some = [*EARLY[:30], *NEVER[:20]]
    trials = {(task, 0): made() for task in ("door", "window")}
    trials |= {("door", 1): made(), ("window", 1): made(**{OURS: some})}
    trials |= {(task, 2): made(**{OURS: some}) for task in ("door", "window")}
    mean, low, high = leads(trials)[EVERYTHING]
    assert (mean, low) == (pytest.approx(0.8), pytest.approx(0.8 - 4.303 * 0.2 / 3**0.5, abs=1e-3))
    assert high == 1.0  # no difference is larger
    one = {key: trial for key, trial in trials.items() if key[1] == 0}
    assert figures(one)[OURS]["success 95"] == [None, None]
    assert "| ours, best 30 % | 100 | 100 |" in table(one, {})


def test_the_target_is_reached_where_ours_is_ahead_and_each_shortfall_is_named():
    good = {("door", 0): made(), ("window", 0): made()}
    assert missed(good) == []
    assert leads(good)[EVERYTHING] == [1.0, None, None]
    peer = next(iter(PEER_ARMS))
    bad = {("door", 0): made(**{peer: EARLY}), ("window", 0): made(**{OURS: [*EARLY[:40], *NEVER[:10]]})}
    found = missed(bad)
    assert any("window: 80%" in one for one in found) and any(peer not in one for one in found)
    assert "90% of cloning on the true return" in found
    assert "| ours, best 30 % | 90" in table(bad, {})


def test_an_arm_that_only_some_trials_have_says_of_how_many_it_is():
    some = {("door", 0): made(extra=EARLY), ("window", 0): made()}
    assert figures(some)["extra"]["trials"] == 1
    facts = {key: {"extra": {"the way": 0.93}} for key in some}
    assert table(some, facts).splitlines()[-1].endswith("| 100 | – | 93 | 1 |")


@pytest.fixture
def pool():
    """Forty episodes of which the first state value is how good they are."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=40)
    states = rng.normal(0, 0.3, (40, ROWS, 2)) + quality[:, None, None]
    rewards = np.repeat(quality[:, None] + 3.0, ROWS, axis=1) / ROWS
    arrived = np.where(quality > -0.5, 60, ROWS)
    source = np.array(["expert"] * 4 + ["random"] * 36)
    none = np.zeros((40, ROWS // EVERY, 0), np.float16)
    actions = rng.normal(size=(40, ROWS, 1))
    return Pool(
        states.astype(np.float32), actions.astype(np.float32), rewards.astype(np.float32), arrived, source, none
    )


def test_200_answers_are_asked_by_the_products_loop_and_kept(pool, tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "epochs", 15)
    asked = asked_of(tmp_path, "door", pool, seed=0)
    assert len(asked.labels) == len({frozenset(pair) for pair in asked.pairs.tolist()}) == 200
    rewards = asked.rewards(pool.features())
    assert np.corrcoef(rewards, pool.returns)[0, 1] > 0.7
    again = asked_of(tmp_path, "door", None, seed=0)
    assert (again.pairs == asked.pairs).all() and again.rewards(pool.features()) == pytest.approx(rewards)
    peer = peer_rewards("linear", pool, asked, 0)
    assert np.corrcoef(peer, pool.returns)[0, 1] > 0.7


class Answered:
    """In place of answers and a model: the rewards are what the episodes are worth."""

    @property
    def model(self):
        return self

    def score_steps(self, features):
        return [Dense(item.state.mean(axis=1)[None], {}) for item in features]

    def rewards(self, features):
        return np.array([(item.state if item.state.size else item.frames).mean() for item in features])


def test_a_trial_is_run_once_and_the_same_weights_are_tested_once(pool, tmp_path, monkeypatch):
    tested = []
    monkeypatch.setattr(trials, "pool_of", lambda *_, **__: pool)
    monkeypatch.setattr(trials, "asked_of", lambda *_, **__: Answered())
    monkeypatch.setattr(trials, "peer_rewards", lambda name, pool, *_: -pool.returns)
    monkeypatch.setattr(trials, "make_environment", lambda *_: (None, []))
    monkeypatch.setattr(trials, "clone", lambda states, actions, weights, seed: weights)
    monkeypatch.setattr(trials, "arrivals", lambda *given: tested.append(given) or EARLY)
    one = Trial(tmp_path, "door", 0)
    one.run(["core"])
    found = one.read()
    assert set(found["arrived"]) == set(CORE)
    assert found["facts"][TRUTH]["successful"] == 1.0
    assert found["facts"][OURS]["spearman"] > 0.9 and found["facts"]["kernel, best 30 %"]["spearman"] < -0.9
    different = len(tested)
    assert different < len(CORE)  # three peers with the same rewards are one policy
    one.run(["core"])
    assert len(tested) == different
    kept = json.loads(one.path.read_text())
    del kept["arrived"][SUCCESSES]
    one.path.write_text(json.dumps(kept))
    one.run(["core"])
    assert len(tested) == different + 1 and set(one.read()["arrived"]) == set(CORE)


def test_the_floor_is_as_many_episodes_at_random_and_soft_weights_are_tried_without_failures(
    pool, tmp_path, monkeypatch
):
    weights = []
    monkeypatch.setattr(trials, "pool_of", lambda *_, **__: pool)
    monkeypatch.setattr(trials, "asked_of", lambda *_, **__: Answered())
    monkeypatch.setattr(trials, "make_environment", lambda *_: (None, []))
    monkeypatch.setattr(trials, "clone", lambda _, __, rows, ___: weights.append(rows.reshape(40, ROWS)[:, 0]))
    monkeypatch.setattr(trials, "arrivals", lambda *_: EARLY)
    monkeypatch.setitem(trials.PARTS, "core", (trials.RANDOM,))
    Trial(tmp_path, "door", 0).run(["core", "soft"])
    floor, every, clean = weights
    assert floor.sum() == 12 and abs(np.corrcoef(floor, pool.returns)[0, 1]) < 0.5
    failed = pool.arrived == ROWS
    assert (every > 0).all() and (clean[failed] == 0).all() and (clean[~failed] == every[~failed]).all()


def test_one_loop_later_the_new_policys_rollouts_are_in_the_pool(pool, tmp_path, monkeypatch):
    cloned = []

    def rolled(environment, variation, policy, **about):
        policy(np.zeros(39))
        rows = np.full((ROWS, 2), 9.0, np.float32)
        done = np.arange(ROWS) >= 30
        return Rollout(about["task"], "cloned", rows, rows[:, :1], rows[:, 0], done, np.zeros((ROWS, 0), np.uint8))

    monkeypatch.setattr(trials, "pool_of", lambda *_, **__: pool)
    monkeypatch.setattr(trials, "asked_of", lambda *_, **__: Answered())
    monkeypatch.setattr(trials, "ask_more", lambda *_: Answered())
    monkeypatch.setattr(trials, "make_environment", lambda *_: (None, [0]))
    monkeypatch.setattr(trials, "roll_out", rolled)
    monkeypatch.setattr(
        trials, "clone", lambda states, _, rows, __: cloned.append((states, rows)) or (lambda _: np.zeros(4))
    )
    monkeypatch.setattr(trials, "arrivals", lambda *_: EARLY)
    one = Trial(tmp_path, "door", 0)
    one.run(["loop", "progress"])
    found = one.read()
    assert set(found["arrived"]) == {AGAIN, *FORMS}
    assert found["facts"][AGAIN]["rollouts successful"] == 1.0
    states, rows = cloned[1]
    assert len(states) == (40 + trials.ROLLOUTS) * ROWS
    assert found["facts"][AGAIN]["rollouts kept"] == 24 == rows[40 * ROWS :].sum() / ROWS


@pytest.fixture
def seen(pool):
    """The same with pictures: what to do is one direction of their features, and nowhere in the state."""
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(40, ROWS // EVERY, 8)) + 9.0
    frames[:, :, 0] *= 5.0
    actions = np.repeat(np.sign(frames[:, :, :1] - 45.0), EVERY, axis=1).astype(np.float32)
    states = rng.normal(size=(40, ROWS, 6)).astype(np.float32)
    return Pool(states, actions, pool.rewards, pool.arrived, pool.source, frames.astype(np.float16))


def test_a_policy_from_pictures_does_what_the_picture_asks_for_and_a_blind_one_cannot(seen, monkeypatch):
    monkeypatch.setattr("policies.seeing.clone", lambda *given: clone(*given, steps=600))
    right = {}
    for components in (1, 0):
        sight = Sight(seen.frames, components)
        policy = clone_seeing(seen, sight, np.ones(40 * ROWS), seed=0)
        given = [np.concatenate([seen.states[i, 0, :HAND], sight(seen.frames[i, 0])]) for i in range(40)]
        assert all(len(one) == HAND + components for one in given)
        right[components] = np.mean([np.sign(policy(one)[0]) == seen.actions[i, 0, 0] for i, one in enumerate(given)])
    assert right[1] > 0.9 and right[0] < 0.8


def test_a_policy_from_pictures_gets_hand_and_newest_picture_and_nothing_else(seen, monkeypatch):
    class Encoder:
        pictures = 0

        def encode(self, frames):
            assert frames.shape == (1, pools.SIZE, pools.SIZE, 3) and frames.std() > 0
            self.pictures += 1
            return np.full((1, 8), self.pictures, np.float16)

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("policies.seeing.SEEN_STARTS", 2)
    encoder, given = Encoder(), []
    monkeypatch.setattr("policies.seeing.encoder_of", lambda: encoder)
    environment, variations = make_environment("window-open-v3", 3)
    for components, pictures in ((2, 2 * ROWS // EVERY), (0, 0)):
        encoder.pictures = 0
        given.clear()
        sight = Sight(seen.frames, components)
        still = lambda inputs: given.append(inputs) or np.zeros(4)  # noqa: E731
        assert arrivals_seeing(environment, variations, still, sight, "window-open-v3") == [ROWS, ROWS]
        assert encoder.pictures == pictures and {len(one) for one in given} == {HAND + components}
    environment.set_task(variations[0])
    hand = environment.reset(seed=0)[0][:HAND]
    assert given[0] == pytest.approx(hand)


def test_arms_from_pictures_are_told_what_to_clone_as_the_others_are(seen, tmp_path, monkeypatch):
    cloned = []
    monkeypatch.setattr(trials, "pool_of", lambda *_, **__: seen)
    monkeypatch.setattr(trials, "asked_of", lambda *_, **__: Answered())
    monkeypatch.setattr(trials, "make_environment", lambda *_: (None, []))
    monkeypatch.setattr(trials, "clone", lambda *_: None)
    monkeypatch.setattr(trials, "clone_seeing", lambda _, sight, rows, __: cloned.append((sight.axes.shape[1], rows)))
    monkeypatch.setattr(trials, "arrivals", lambda *_: EARLY)
    monkeypatch.setattr(trials, "arrivals_seeing", lambda *_: EARLY[:20])
    one = Trial(tmp_path, "door", 0)
    one.run(["images"])
    found = one.read()
    assert set(found["arrived"]) == {PICTURES, *SEEING, *BLIND}
    assert [components > 0 for components, _ in cloned] == [True] * len(SEEING) + [False] * len(BLIND)
    chosen = dict(zip((*SEEING, *BLIND), (rows for _, rows in cloned), strict=True))
    assert all(chosen[blind] == pytest.approx(chosen[f"from images: {name}"]) for blind, name in BLIND.items())


def test_a_run_of_a_part_alone_has_a_table_and_no_target(tmp_path, monkeypatch, capsys):
    one = Trial(tmp_path, "door-open-v3", 0)
    one.path.parent.mkdir()
    arms = dict.fromkeys((PICTURES, *SEEING, *BLIND), EARLY[:20])
    one.path.write_text(json.dumps({"arrived": arms, "facts": {}}))
    given = ["--folder", tmp_path, "--tasks", "door-open-v3", "--seeds", 0, "--parts", "images", "--processes", 1]
    monkeypatch.setattr("sys.argv", ["policy.py", *map(str, given)])
    with pytest.raises(SystemExit) as ended:
        policy.main()
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(printed[-1])
    assert ended.value.code == 0 and report["target"].startswith("none") and set(report["figures"]) == set(arms)
    assert not (tmp_path / "policies.png").exists() and (tmp_path / "table.md").exists()


def test_progress_counts_the_rows_in_which_something_rises(pool):
    rows = step_weights("true progress, positive part", pool, Answered()).reshape(40, ROWS)
    assert (rows[:, -EVERY:] == 0).all()
    assert rows[pool.returns.argmax()].sum() > rows[pool.returns.argmin()].sum()
    filtered = next(form for form, (_, _, cut) in FORMS.items() if cut)
    left_out = step_weights(filtered, pool, Answered()).reshape(40, ROWS).sum(axis=1) == 0
    assert left_out.sum() >= 28


def test_progress_is_a_mean_or_a_sum_and_the_true_one_has_both_forms(pool):
    """Where every step is worth the same, a mean so far never rises, and a sum always does."""
    said = {name: PROGRESS[name](pool, Answered()) for name in PROGRESS}
    assert all(one.shape == (40, ROWS // EVERY) for one in said.values())
    assert np.ptp(said["true"], axis=1).max() < 1e-5 and np.diff(said["true sum"], axis=1).min() > 0
    assert said["learned sum"][:, -1] == pytest.approx(ROWS / EVERY * said["learned"][:, -1], rel=1e-4)


def test_the_way_is_what_is_learned_before_success(pool):
    counts = np.zeros((40, ROWS))
    good, bad = pool.arrived.argmin(), pool.arrived.argmax()
    counts[good, :], counts[bad, :20] = 1.0, 1.0
    found = pool.shares(counts.ravel())
    assert found == {"successful": pytest.approx(150 / 170, abs=1e-3), "the way": pytest.approx(60 / 80)}


def test_a_task_that_does_not_exist_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["policy.py", "--folder", str(tmp_path / "kept"), "--tasks", "door-opne-v3"])
    with pytest.raises(SystemExit) as ended:
        policy.main()
    assert ended.value.code == 2
    assert "no Meta-World task 'door-opne-v3'" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_a_pool_has_its_sources_and_is_the_same_with_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "SOURCES", {"expert": 1, "random": 1})
    monkeypatch.setattr("sample_pool.sources.DEMONSTRATIONS", 2)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    seen, plain = (pool_of(tmp_path, "window-open-v3", 3, pictures=pictures) for pictures in (True, False))
    assert sorted(plain.source) == ["expert", "random"]
    assert plain.arrived[plain.source == "expert"] < ROWS and plain.arrived[plain.source == "random"] == ROWS
    assert (seen.states == plain.states).all() and (seen.actions == plain.actions).all()
    assert plain.frames.shape == (2, 15, 0) and seen.frames.shape[:2] == (2, 15) and seen.frames.std() > 0
    assert seen.features(pictures=True)[0].state.shape == (15, 0)
    assert (pool_of(tmp_path, "window-open-v3", 3, pictures=True).frames == seen.frames).all()


@pytest.mark.parametrize(("ours", "code"), [(EARLY, 0), (LATE, 1)])
def test_the_report_is_of_the_trials_that_are_kept_and_ends_with_one_line_of_json(
    tmp_path, monkeypatch, capsys, ours, code
):
    for task in ("door-open-v3", "window-open-v3"):
        one = Trial(tmp_path, task, 0)
        one.path.parent.mkdir(exist_ok=True)
        one.path.write_text(json.dumps({"arrived": made(**{OURS: ours}), "facts": {OURS: {"the way": 0.9}}}))
    given = ["--folder", tmp_path, "--tasks", "door-open-v3", "window-open-v3", "--seeds", 0, "--parts", "core"]
    monkeypatch.setattr("sys.argv", ["policy.py", *map(str, given), "--processes", "1"])
    with pytest.raises(SystemExit) as ended:
        policy.main()
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(printed[-1])
    assert ended.value.code == code and report["met"] is (code == 0)
    assert report["figures"][OURS]["tasks"] == {"door-open-v3": 1.0, "window-open-v3": 1.0}
    assert [line for line in printed if line.startswith("Not reached")] == [
        f"Not reached: {m}" for m in report["missed"]
    ]
    assert (tmp_path / "table.md").read_text().startswith("| cloned from |")
    assert (tmp_path / "policies.png").read_bytes().startswith(b"\x89PNG")
