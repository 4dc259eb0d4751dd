"""Progress and success of each step: learned from whole trajectories, calibrated on those that a member never saw."""

import importlib.util
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ml_maker import features, pairs_of, spec
from paths import ROOT

from ml_backend.loop.spec import done_step, known_outcomes
from ml_backend.reward.dataset import Known, Split, split_pairs
from ml_backend.reward.features import Features
from ml_backend.reward.model import RewardModel
from ml_backend.reward.outcomes import FEWEST, fit_platt, learnable, targets
from ml_backend.reward.train import train_model
from preference.bradley_terry import sigmoid
from preference.config import Clips, Config, Reward
from preference.records import Trajectory

REWARD = Reward(inputs=["actions", "state"], epochs=5, hidden=8, members=3)


def journeys(count=60, seed=0):
    """State 1 is how far it is still to go; even ones arrive, at different speeds, and odd ones stop before."""
    made, truth = features(count, seed)
    rng = np.random.default_rng([seed, 1])
    found, known = [], []
    for number, item in enumerate(made):
        steps = len(item)
        done = int(rng.integers(3, steps - 1)) if number % 2 == 0 else None
        left = np.maximum(1.0 - np.arange(steps) / done, 0.0) if done else rng.uniform(0.4, 1.0, steps)
        state = item.state.copy()
        state[:, 1] = left
        found.append(replace(item, state=state))
        known.append(Known(done is not None, done, "push"))
    return found, truth, known


def trained(known, made, truth, **changes):
    pairs = pairs_of(truth)
    own = REWARD.model_copy(update=changes)
    plan = spec(hidden=8, members=own.members, temporal=own.temporal)
    return train_model(made, pairs, split_pairs(pairs.pair_ids, 0), plan, own, seed=0, known=known)


def test_targets_are_the_time_to_go_of_good_trajectories_and_nothing_where_nobody_knows():
    known = [Known(True, 4, "push"), Known(True, 2, "push"), Known(False, None, "push"), Known(None), Known(True)]
    fast, slow, failed, unknown, late = targets(known, [6, 4, 3, 2, 3])
    assert np.allclose(fast[:, 0], [0, 0, 1 / 3, 2 / 3, 1, 1]) and fast[:, 1].tolist() == [0, 0, 0, 0, 1, 1]
    assert np.allclose(slow[:, 0], [1 / 3, 2 / 3, 1, 1]), "the unit is the median of the task: 3 steps"
    assert not failed.any() and np.isnan(unknown).all()
    assert np.allclose(late[:, 0], [0, 0.5, 1]) and np.isnan(late[:2, 1]).all() and late[2, 1] == 1.0


def test_each_is_learned_from_enough_of_both_ends():
    good, bad = [Known(True, 1)] * FEWEST, [Known(False)] * FEWEST
    assert learnable(good + bad) == ("progress", "success")
    assert learnable(good + bad[1:]) == ("progress",)
    assert learnable(good[1:] + bad) == () == learnable([Known(None)] * 50)


def test_unseen_steps_get_their_progress_and_success_and_the_file_keeps_them(tmp_path):
    made, truth, known = journeys()
    found = trained(known, made, truth)
    assert found.outcomes["success"].precision > 0.9 and found.outcomes["progress"].error < 0.15
    unseen, _, then = journeys(seed=1)
    found.model.save(tmp_path / "model.pt")
    said = RewardModel.load(tmp_path / "model.pt").score_steps(unseen)
    assert [one.outcomes["progress"].shape for one in said] == [(3, len(item)) for item in unseen]
    told = np.concatenate(targets(then, [len(item) for item in unseen]))
    progress, success = (
        np.concatenate([one.outcomes[n].mean(axis=0) for one in said]) for n in ("progress", "success")
    )
    assert progress.min() >= 0 and success.max() <= 1
    assert np.corrcoef(progress, told[:, 0])[0, 1] > 0.8
    assert success[told[:, 1] == 1].mean() > 0.8 > 0.2 > success[told[:, 1] == 0].mean()


def test_progress_and_success_are_about_the_state_and_not_about_who_drives():
    made, truth, known = journeys()
    model = trained(known, made, truth).model
    driven = [Features(one.frames, one.actions[::-1].copy(), one.state) for one in made]
    both = zip(model.score_steps(made), model.score_steps(driven), strict=True)
    assert all(np.array_equal(a.outcomes[n], b.outcomes[n]) for a, b in both for n in ("progress", "success"))


@pytest.mark.parametrize("temporal", ["mean", "conv1d", "transformer"])
def test_a_few_steps_chosen_of_each_trajectory_get_what_they_get_among_all(temporal):
    part = RewardModel(spec(temporal=temporal)).new_outcomes(("progress", "success"))
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.normal(size=(4, 9, 5)).astype(np.float32))
    lengths = np.array([9, 5, 1, 7])
    mask = torch.arange(9) < torch.from_numpy(lengths)[:, None]
    chosen = rng.integers(lengths[:, None], size=(4, 6))
    every, some = part.logits(inputs, mask), part.logits(inputs, mask, torch.from_numpy(chosen))
    assert torch.allclose(some, every[:, np.arange(4)[:, None], chosen], atol=1e-5)


@pytest.mark.parametrize("temporal", ["conv1d", "transformer"])
def test_the_same_seed_gives_the_same_progress_and_success(temporal):
    made, truth, known = journeys(30)
    first, second = (trained(known, made, truth, temporal=temporal).model.score_steps(made) for _ in range(2))
    both = zip(first, second, strict=True)
    assert all(np.array_equal(a.outcomes[n], b.outcomes[n]) for a, b in both for n in ("progress", "success"))


@pytest.mark.parametrize("tasks", [{}, {"task_types": ("close", "open"), "task_columns": True}])
def test_where_the_state_is_empty_they_are_told_from_the_actions(tasks):
    model = RewardModel(spec(state_names=(), **tasks))
    assert model.new_outcomes(("progress",)).seen.all() and model.spec.outcome_inputs == ()


def test_a_model_of_an_earlier_version_tells_them_from_all_that_it_saw_then(tmp_path):
    made, truth, known = journeys(30)
    model = trained(known, made, truth).model
    model.spec = replace(model.spec, outcome_inputs=())
    model.save(tmp_path / "model.pt")
    earlier = RewardModel.load(tmp_path / "model.pt")
    assert earlier.outcomes is not None and earlier.outcomes.seen.all()
    then = RewardModel(spec(hidden=8, outcomes=("progress",))).outcomes
    assert then is not None and then.seen.all() and then.hidden_bias.shape[-1] == 8


def arrivals(known):
    """What people say who prefer trajectories that arrive, the earlier the better."""
    return np.array([10.0 - one.done if one.success else -1.0 - row / 100 for row, one in enumerate(known)])


def ordered(model, of=1):
    """How often of two trajectories that it has never seen the one that arrives has the higher reward."""
    made, _, known = journeys(40, seed=of)
    rewards, arrived = model.score(made)[0], np.array([one.success for one in known])
    return np.mean(rewards[arrived][:, None] > rewards[~arrived])


def fitted(known, made, truth, count, *, flipped=False, **changes):
    """From so many answers, that say the better one or, `flipped`, the worse one."""
    pairs, own = pairs_of(-truth if flipped else truth, count=count), REWARD.model_copy(update=changes)
    split = Split(np.arange(count), np.zeros(0, int), np.zeros(0, int))
    return train_model(made, pairs, split, spec(hidden=8), own, seed=0, known=known)


def test_progress_orders_trajectories_before_answers_say_much():
    made, _, known = journeys()
    truth = arrivals(known)
    with_it = fitted(known, made, truth, 8)
    without = fitted(known, made, truth, 8, progress_prior=False)
    assert with_it.progress > 2.0 and with_it.model.spec.progress
    assert ordered(with_it.model) > max(0.95, ordered(without.model) + 0.05)
    assert without.progress == 0.0 and not without.model.spec.progress and "progress" in without.outcomes


def test_answers_that_say_the_opposite_end_it():
    made, _, known = journeys()
    found = fitted(known, made, arrivals(known), 40, flipped=True)
    assert found.progress < 0.5 and ordered(found.model) < 0.3


@pytest.mark.parametrize("changes", [{"progress_prior": False}, {"linear_until": 0}])
def test_turned_off_or_where_nothing_is_known_rewards_do_not_depend_on_success(changes):
    made, truth, known = journeys(30)
    with_it, without = (trained(told, made, truth, **changes) for told in (known, ()))
    assert np.array_equal(with_it.model.score(made)[1], without.model.score(made)[1])
    unknown = trained((), made, truth)
    assert unknown.outcomes == {} and unknown.progress == 0.0
    assert unknown.model.score_steps(made)[0].outcomes == {}


def test_what_is_compared_in_test_pairs_alone_teaches_nothing():
    made, truth, known = journeys(30)
    pairs = pairs_of(truth, count=60)
    inner = np.flatnonzero((pairs.a < 25) & (pairs.b < 25))
    split = Split(inner, np.zeros(0, int), np.setdiff1d(np.arange(60), inner))
    others = [*known[:25], *(Known(not one.success, None if one.success else 2, "push") for one in known[25:])]
    first, second = (train_model(made, pairs, split, spec(hidden=8), REWARD, seed=0, known=k) for k in (known, others))
    assert first.progress and np.array_equal(first.model.score(made)[1], second.model.score(made)[1])


@pytest.mark.parametrize("tasks", [{"task_types": ("close", "open"), "task_columns": True}, {"state_names": ()}])
def test_it_counts_alone_where_inputs_do_not_count_linearly(tasks, tmp_path):
    made, _, known = journeys()
    if "task_types" in tasks:
        columns = np.eye(2, dtype=np.float32)[[0, 1] * 30]
        made = [replace(one, state=np.concatenate([one.state, np.tile(own, (len(one), 1))], axis=1))
                for one, own in zip(made, columns, strict=True)]  # fmt: skip
    else:  # what the state said is said by an action
        made = [replace(one, actions=one.state[:, :2].copy(), state=one.state[:, :0]) for one in made]
    pairs = pairs_of(arrivals(known), count=20)
    split = Split(np.arange(20), np.zeros(0, int), np.zeros(0, int))
    found = train_model(made, pairs, split, spec(hidden=8, **tasks), REWARD, seed=0, known=known)
    assert found.model.spec.progress and not found.model.spec.linear and found.progress > 0
    assert found.model.linear is not None and found.model.linear.size.shape == (1,)
    rewards = found.model.score(made)[1]
    steps = np.array([one.rewards.sum(axis=1) for one in found.model.score_steps(made)]).T
    assert np.abs(steps - rewards).max() < 1e-5
    found.model.save(tmp_path / "model.pt")
    assert np.array_equal(RewardModel.load(tmp_path / "model.pt").score(made)[1], rewards)
    phi = found.model.last_layer(made)
    phi, rewards = phi - phi.mean(0), rewards.mean(axis=0) - rewards.mean()
    assert np.abs(rewards - phi @ np.linalg.lstsq(phi, rewards, rcond=None)[0]).max() < 1e-3


def test_each_task_is_divided_by_its_own_temperature_where_progress_counts():
    made, _, known = journeys()
    columns = np.eye(2, dtype=np.float32)[[0, 0, 1, 1] * 15]
    made = [replace(one, state=np.concatenate([one.state, np.tile(own, (len(one), 1))], axis=1))
            for one, own in zip(made, columns, strict=True)]  # fmt: skip
    pairs, plan = pairs_of(arrivals(known), count=60), spec(hidden=8, task_types=("close", "open"), task_columns=True)
    split = Split(np.arange(60), np.zeros(0, int), np.zeros(0, int))
    found = train_model(made, pairs, split, plan, REWARD, seed=0, known=known)
    before, said = found.model.score(made)[0], found.progress
    found.model.cool(2.0, {"open": 4.0})
    after, steps = found.model.score(made)[0], found.model.score_steps(made)
    for column, temperature in enumerate((2.0, 4.0)):
        own = columns[:, column] == 1.0
        assert np.diff(after[own]) == pytest.approx(np.diff(before[own]) / temperature, abs=1e-5)
    assert [one.rewards.mean(axis=0).sum() for one in steps] == pytest.approx(after, abs=1e-5)
    assert said > 1.0 and found.progress == pytest.approx(said / 2.0), "what is told is of the model as it is now"


def test_the_network_counts_from_half_of_linear_until_on():
    made, _, known = journeys()
    truth = arrivals(known)
    assert fitted(known, made, truth, 8, linear_until=17).weights == {"linear": 1.0, "network": 0.0}
    assert fitted(known, made, truth, 8, linear_until=16).weights["network"] > 0.0


@pytest.mark.usefixtures("aside")
def test_what_is_said_of_outcomes_in_test_pairs_teaches_nothing():
    ws, made = pool(None, None, judgments=[said(0, "success", "failure")])
    assert [one.success for one in known_outcomes(ws, made, [40, 40], 5.0, {"p1"}).known] == [True, False]
    assert [one.success for one in known_outcomes(ws, made, [40, 40], 5.0, {"p0"}).known] == [None, None]


def test_one_member_alone_is_calibrated_on_a_fold_that_it_did_not_see():
    made, truth, known = journeys()
    found = trained(known, made, truth, members=1)
    assert 0 < found.outcomes["success"].trajectories < len(made)


@pytest.mark.parametrize(("temperature", "shift"), [(2.0, -0.5), (0.7, 1.0)])
def test_the_calibration_finds_the_temperature_and_the_shift_that_made_the_answers(temperature, shift):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, 20_000)
    y = (rng.random(len(x)) < sigmoid(x / temperature + shift)).astype(float)
    assert fit_platt(x, y) == pytest.approx((temperature, shift), rel=0.1, abs=0.1)
    assert all(np.isfinite(fit_platt(np.array([-1.0, 1.0]), np.array([0.0, 1.0]))))


def said(number, a, b):
    """One annotator's answer about the outcomes of pair p: x on side A, y on side B."""
    return SimpleNamespace(
        assignment_id=f"s{number}", annotator_id=f"ann{number}", questions={"outcome": {"A": a, "B": b}}
    )


def pool(*successes, judgments=()) -> Any:
    pair = SimpleNamespace(pair_id="p0", trajectory_a_id="t0", trajectory_b_id="t1")
    views = [
        SimpleNamespace(assignment=SimpleNamespace(assignment_id=one.assignment_id, batch_id="b"), pair=pair)
        for one in judgments
    ]
    store = SimpleNamespace(assignments=lambda calibration: views, judgments=lambda: judgments)
    made = [
        Trajectory(f"t{i}", "d", i, "expert", "push", success=value, start_s=1.0, end_s=6.0, num_frames=100, fps=10.0)
        for i, value in enumerate(successes)
    ]
    return SimpleNamespace(store=store, config=Config()), made


@pytest.fixture
def aside(monkeypatch):
    """Batches that are held, and (batch, annotator) whose judgments do not count."""
    held, out = set(), set()
    monkeypatch.setattr("qc_reports.resolve.set_aside_now", lambda ws: (held, out))
    return held, out


def test_whose_judgments_count_for_no_label_count_for_no_outcome_and_one_person_does_not_overrule_the_dataset(aside):
    held, out = aside
    ws, made = pool(True, None, judgments=[said(0, "failure", "success"), said(1, "failure", "success")])
    assert [one.success for one in known_outcomes(ws, made, [40, 40], 5.0).known] == [None, True]
    out.add(("b", "ann1"))
    found = known_outcomes(ws, made, [40, 40], 5.0)
    assert [one.success for one in found.known] == [True, True] and not found.contradictory
    held.add("b")
    assert [one.success for one in known_outcomes(ws, made, [40, 40], 5.0).known] == [True, None]


@pytest.mark.usefixtures("aside")
def test_where_the_dataset_says_nothing_most_annotators_do_and_a_contradiction_is_reported_and_not_learned_from():
    answers = [said(0, "success", "failure"), said(1, "success", "partial"), said(2, "failure", "failure")]
    ws, made = pool(None, False, judgments=answers)
    found = known_outcomes(ws, made, [40, 40], 5.0)
    assert found.known == [Known(True, None, "push"), Known(False, None, "push")]
    assert (found.by_people, found.words) == (1, "")
    ws, made = pool(None, True, judgments=answers)
    found = known_outcomes(ws, made, [40, 40], 5.0)
    assert found.known[1] == Known(None, None, "push") and found.contradictory == ["t1"]
    assert "the first is t1" in found.words
    ws, made = pool(None, None, judgments=answers[1:])
    assert known_outcomes(ws, made, [40, 40], 5.0).known[0].success is None, "one says yes and one no"


def test_the_step_of_completion_follows_from_the_span_that_people_see():
    clips = Config(clips=Clips(before_s=1.0, after_s=2.0), reward=Reward(max_frames=47))
    thinned = clips.model_copy(update={"reward": Reward(max_frames=10)})
    ends = Trajectory("t", "d", 0, "expert", "push", success=True, start_s=1.0, end_s=6.0, num_frames=100, fps=10.0)
    assert done_step(ends, 46, 5.0, clips) == 15, "done at 4 s, the span begins at 1 s"
    assert done_step(ends, 10, 5.0, thinned) == 3, "sampled at one step a second"
    late = replace(ends, end_s=10.0, duration_s=7.0)
    assert done_step(late, 46, 5.0, clips) == 40, "from the first action at 2 s"
    assert done_step(replace(ends, end_s=10.0, duration_s=8.0), 46, 5.0, clips) is None, "the time is not known"
    assert done_step(replace(late, start_s=0.0), 50, 5.0, clips) is None


def test_the_released_graph_gives_every_row_its_part_and_its_outcomes(tmp_path):
    from release.onnx import WholePath, export_onnx, output_names

    made, truth, known = journeys()
    model = trained(known, made, truth).model
    ranges = {
        name: {"size": size, "names": [name] * size, "low": [-9.0] * size, "high": [9.0] * size}
        for name, size in (("actions", 2), ("state", 3))
    }
    contract = {"inputs": ["actions", "state"], "sample_fps": 5.0, "max_frames": 64, "columns": {}, **ranges}
    export_onnx(WholePath(model, None), model.spec, contract, tmp_path / "reward_model.onnx", tmp_path / "graph.onnx")
    place = importlib.util.spec_from_file_location("released", ROOT / "release/templates/inference.py")
    assert place and place.loader
    inference = importlib.util.module_from_spec(place)
    place.loader.exec_module(inference)
    released = inference.RewardModel.load(tmp_path, threads=1)
    assert [node.name for node in released.session.get_outputs()] == output_names(model.spec)
    item = max(made, key=len)
    own = model.score_steps([item])[0]
    dense = released.dense(None, item.actions, item.state)
    assert dense["rewards"] == pytest.approx(own.rewards.mean(axis=0), abs=1e-5)
    assert dense["rewards"].sum() == pytest.approx(released.score(None, item.actions, item.state), abs=1e-5)
    for name in ("progress", "success"):
        assert dense[name] == pytest.approx(own.outcomes[name].mean(axis=0), abs=1e-5)
        assert dense[f"{name}_spread"] == pytest.approx(own.outcomes[name].std(axis=0), abs=1e-4)
    actions, state = (np.repeat(values, 4, axis=0) for values in (item.actions, item.state))
    sampling = {"fps": 20.0, "start_s": 0.4, "end_s": 1.5}
    rows = released.rewards(None, actions, state, **sampling)
    assert len(rows) == len(actions) and not rows[:8].any() and not rows[31:].any() and rows[8:31].all()
    assert rows.sum() == pytest.approx(released.score(None, actions, state, **sampling), abs=1e-5)
    assert released.rewards(None, actions[None], state[None], fps=20.0).shape == (1, len(actions))
