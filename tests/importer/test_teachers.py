"""Simulated annotators behave as their names say, on made-up returns and on the sample pool."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from paths import SAMPLE_POOL
from sklearn.metrics import cohen_kappa_score

from importer.calibration.sets import propose_calibration
from importer.pairs.assignments import assign, assign_everyone
from importer.pairs.sampling import asked, likely_answers, sample_pairs
from importer.pool import read_pool
from importer.simulate.teachers import (
    TEACHERS,
    Scale,
    Scene,
    answer_functions,
    answer_rng,
    reason_for,
    scales_of,
    teacher,
)
from labeling_config.contract import preference_of
from preference.config import Clips, Dataset, Pool
from preference.config import Teacher as TeacherName
from preference.errors import UserError
from preference.records import Annotator, Assignment, AssignmentView, Pair, Trajectory

SCALE = Scale(mean=1000.0, sd=200.0)
DRAWS = 3000


def trajectory(name, value, **changes):
    return Trajectory(name, "d", 0, "expert", "push", true_return=value, quartile=1, **changes)


def scene(difference_sd, base=1000.0, rewards=None):
    """The left one is better by so many standard deviations."""
    left, right = trajectory("l", base + difference_sd * SCALE.sd), trajectory("r", base)
    return Scene(left, right, SCALE, rewards)


def share(name, difference_sd, side, **kwargs):
    mind, rng = teacher(name), np.random.default_rng(0)
    shown = scene(difference_sd, **kwargs)
    return np.mean([mind.answer(shown, rng).side == side for _ in range(DRAWS)])


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def test_every_teacher_that_the_settings_know_exists():
    assert set(TEACHERS) == set(get_args(TeacherName))
    with pytest.raises(UserError, match=r"no teacher 'genius'.*oracle"):
        teacher("genius")


@pytest.mark.parametrize("difference", [-2.0, -0.3, 0.02, 0.5])
def test_the_oracle_always_names_the_better_one(difference):
    assert share("oracle", difference, "left" if difference > 0 else "right") == 1.0


def test_the_expert_calls_only_the_closest_pairs_equal_and_explains_every_answer():
    assert share("expert", 0.04, "equal") == share("expert", 0.06, "left") == share("expert", -1.0, "right") == 1.0
    assert teacher("expert").answer(scene(1.0), np.random.default_rng(0)).reason


@pytest.mark.parametrize("difference", [-0.5, -0.1, 0.0, 0.2, 0.6])
def test_the_noisy_teacher_follows_bradley_terry(difference):
    assert share("noisy", difference, "left") == pytest.approx(sigmoid(3.0 * difference), abs=0.03)


@pytest.mark.parametrize("difference", [-0.1, 0.0, 0.05, 0.2])
def test_a_good_annotator_follows_rao_and_kupper_and_is_the_same_from_both_sides(difference):
    mind = teacher("good")
    left = sigmoid(mind.beta * (difference - mind.tie))
    right = sigmoid(mind.beta * (-difference - mind.tie))
    assert share("good", difference, "left") == pytest.approx(left, abs=0.03)
    assert share("good", difference, "right") == pytest.approx(right, abs=0.03)
    assert share("good", -difference, "right") == pytest.approx(left, abs=0.03)


def test_the_mistaken_teacher_is_wrong_one_time_in_ten():
    assert share("mistake", 1.5, "right") == pytest.approx(0.1, abs=0.02)


def test_the_skipping_teacher_passes_over_what_shows_nothing():
    mind, rng = teacher("skip"), np.random.default_rng(0)
    assert mind.answer(scene(0.1, base=50.0), rng) is None
    assert mind.answer(scene(0.1, base=500.0), rng).side == "left"


def test_the_equal_teacher_sees_a_tie_within_a_tenth_of_the_mean():
    assert share("equal", 0.45, "equal") == share("equal", 0.55, "left") == 1.0


def test_the_myopic_teacher_judges_by_the_end():
    early, late = np.array([100.0, 0, 0, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 0, 0, 50.0])
    steps = {"l": early, "r": late}
    shown = scene(2.0, rewards=lambda t: steps[t.trajectory_id])
    assert teacher("myopic").answer(shown, np.random.default_rng(0)).side == "right"
    with pytest.raises(UserError, match="reward of each step"):
        teacher("myopic").answer(scene(2.0), np.random.default_rng(0))


def test_without_a_return_there_is_one_clear_message_instead_of_a_guess():
    shown = Scene(trajectory("l", math.nan), trajectory("r", 1.0), SCALE)
    with pytest.raises(UserError, match="l, true_return"):
        teacher("good").answer(shown, np.random.default_rng(0))
    assert teacher("careless").answer(shown, np.random.default_rng(0)).side in ("left", "equal", "right")


def test_a_good_annotator_is_surer_and_quicker_the_clearer_the_pair():
    mind, rng = teacher("good"), np.random.default_rng(0)
    clear = [mind.answer(scene(2.0), rng) for _ in range(300)]
    close = [mind.answer(scene(0.1), rng) for _ in range(300)]
    assert np.mean([a.confidence for a in clear]) > np.mean([a.confidence for a in close]) + 1.5
    assert 5 < np.mean([a.response_s for a in clear]) < 9 < np.mean([a.response_s for a in close]) < 20
    assert all(1 <= a.confidence <= 5 and a.response_s >= 4 for a in clear + close)
    assert 0.05 < np.mean([bool(a.reason) for a in clear]) < 0.3


def test_the_careless_one_is_fast_and_random():
    answers = [teacher("careless").answer(scene(3.0), np.random.default_rng(i)) for i in range(600)]
    assert all(1.0 <= a.response_s <= 2.5 for a in answers)
    assert 0.35 < np.mean([a.side == "left" for a in answers]) < 0.55


@pytest.mark.parametrize("difference", [-3.0, 3.0])
def test_the_biased_one_likes_the_left_whatever_is_shown(difference):
    assert share("left_biased", difference, "left") > 0.85


def test_an_answer_depends_on_seed_annotator_and_assignment_only():
    pool = [trajectory("x", 1000.0), trajectory("y", 1010.0)]
    pair = Pair("p", "x", "y", "push", "same", "production", "b")
    views = [AssignmentView(Assignment(f"a{i}", "p", "alice", "b", i, "A" if i % 2 else "B"), pair) for i in range(50)]
    people = [Annotator("alice", "a@x.org", teacher="good"), Annotator("eve", "e@x.org")]
    answer = answer_functions(pool, people, 7)["alice"]
    forward = {view.assignment.assignment_id: answer(view) for view in views}
    again = answer_functions(pool, people, 7)["alice"]
    assert {view.assignment.assignment_id: again(view) for view in reversed(views)} == forward
    assert len({a.response_s for a in forward.values()}) > 40
    other = answer_functions(pool, people, 8)["alice"]
    assert {view.assignment.assignment_id: other(view) for view in views} != forward
    assert "eve" not in answer_functions(pool, people, 7)


def test_each_answer_has_draws_of_its_own():
    first = answer_rng(0, "alice", "x").random(4).tolist()
    assert first == answer_rng(0, "alice", "x").random(4).tolist()
    assert first != answer_rng(0, "alice", "y").random(4).tolist() != answer_rng(0, "bo", "x").random(4).tolist()


def test_reasons_are_true_of_the_two_trajectories():
    rng = np.random.default_rng(0)
    done, failed = trajectory("l", 1.0, success=True), trajectory("r", 1.0, success=False)
    assert reason_for("left", done, failed, rng) == "Left completes the task, the other does not."
    smooth, rough = replace(done, smoothness=-1.0), replace(done, smoothness=-3.0)
    assert reason_for("right", rough, smooth, rng) == "Right moves more smoothly."
    quick, slow = replace(done, duration_s=2.0), replace(done, duration_s=6.0)
    assert reason_for("left", quick, slow, rng) == "Left is done sooner."
    assert "closer" in reason_for("left", slow, quick, rng)


def test_a_task_type_of_equal_returns_has_a_scale_all_the_same():
    assert scales_of([trajectory("x", 5.0), trajectory("y", 5.0), trajectory("z", math.nan)]) == {
        "push": Scale(5.0, 1.0)
    }


# -- on the sample pool ------------------------------------------------------------------------------------------------

ROLES = {"expert": "expert", **dict.fromkeys(("alice", "bo", "chidi", "dana"), "good"), "hasty": "careless",
         "lefty": "left_biased"}  # fmt: skip
GOOD = [name for name, kind in ROLES.items() if kind == "good"]


@pytest.fixture(scope="module")
def pool():
    if not SAMPLE_POOL.is_dir():
        pytest.skip("examples/pool is missing; make it with scripts/make_sample_pool.py")
    return read_pool(Pool(dataset=[Dataset(path=SAMPLE_POOL, name="sample")]), Clips()).trajectories


def answers_to(pool, pairs, assignments, seed):
    """Annotator → assignment → answer in terms of A and B."""
    people = [Annotator(name, f"{name}@x.org", teacher=kind) for name, kind in ROLES.items()]
    minds = answer_functions(pool, people, seed)
    by_id = {pair.pair_id: pair for pair in pairs}
    found = {name: {} for name in ROLES}
    for assignment in assignments:
        said = minds[assignment.annotator_id](AssignmentView(assignment, by_id[assignment.pair_id]))
        found[assignment.annotator_id][assignment] = preference_of(said.side, assignment.left)
    return found


@pytest.fixture(scope="module")
def kappas(pool):
    """Annotator → kappa with the expert on each of ten calibration sets of 40 pairs."""
    found = {name: [] for name in ROLES if name != "expert"}
    for seed in range(5):
        for pairs in propose_calibration(pool, 40, np.random.default_rng(seed))[:2]:
            assignments = assign_everyone(
                pairs, list(ROLES), batch_id="c", rng=np.random.default_rng(seed), likely=likely_answers(pairs, pool)
            )
            answers = {
                name: {a.pair_id: answer for a, answer in own.items()}
                for name, own in answers_to(pool, pairs, assignments, seed).items()
            }
            for name, kappa in found.items():
                order = [pair.pair_id for pair in pairs]
                truth, own = ([answers[who][i] for i in order] for who in ("expert", name))
                kappa.append(cohen_kappa_score(truth, own, labels=["A", "B", "equal"]))
    return found


def test_the_good_agree_with_the_expert_and_the_others_do_not(kappas):
    good = np.concatenate([kappas[name] for name in GOOD])
    assert 0.8 < good.mean() < 0.99
    assert np.mean(good >= 0.65) == 1.0
    assert abs(np.mean(kappas["hasty"])) < 0.15
    assert np.mean(kappas["lefty"]) < 0.3
    assert max(kappas["hasty"] + kappas["lefty"]) < 0.65


def test_in_production_the_good_agree_with_gold_and_with_themselves(pool):
    gold, twice, left = [], [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pairs = sample_pairs(
            pool, 200, strata={"adjacent": 0.4, "same": 0.3, "distant": 0.3}, rng=rng, batch_id="production-001"
        )
        assert len(asked(pairs)) == 200
        assignments = assign(
            pairs, GOOD, overlap=2, duplicates=0.07, duplicate_distance=20, batch_id="production-001", rng=rng
        )
        expected = {pair.pair_id: pair.expected for pair in pairs if pair.expected}
        answers = answers_to(pool, pairs, assignments, seed)
        for own in (answers[name] for name in GOOD):
            by_id = {a.assignment_id: answer for a, answer in own.items()}
            gold += [answer == expected[a.pair_id] for a, answer in own.items() if a.pair_id in expected]
            twice += [answer == by_id[a.duplicate_of] for a, answer in own.items() if a.duplicate_of]
            left += [answer == a.left for a, answer in own.items() if answer != "equal"]
    assert np.mean(gold) > 0.9
    assert np.mean(twice) > 0.8
    assert 0.45 < np.mean(left) < 0.55
