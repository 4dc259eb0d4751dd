"""The benchmark of label efficiency reads its curves honestly, and goes on where it was stopped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from efficiency import course as course_module
from efficiency.course import EARLY, LABELS, LATE, SETTINGS, Course, run
from efficiency.episodes import Episodes, successes
from efficiency.first_release import first_release
from efficiency.summary import compared, figures, lead, needed, reached, saving
from label_efficiency import courses


class Scorer:
    def score(self, features):
        return np.zeros(len(features)), None


UNKNOWN = successes(np.full(60, 12), 12)
RISE = np.linspace(0.70, 0.88, len(LABELS))


def test_labels_needed_are_read_between_two_points():
    assert needed(RISE, 0.70) == LABELS[0]
    assert needed(RISE, 0.79) == pytest.approx((LABELS[0] + LABELS[-1]) / 2)
    assert needed(RISE, 0.881) == math.inf


def test_one_lucky_point_is_no_arrival():
    lucky = RISE.copy()
    lucky[1] = 0.82
    assert needed(lucky, 0.815) > LABELS[1]


def curves(gain):
    """Two seeds of one cell; the strategy is `gain` ahead at every point."""
    noise = np.random.default_rng(0).normal(0, 0.002, (2, len(LABELS)))
    made = {}
    for seed in (0, 1):
        made[Course("push", "mistake", "uniform", seed)] = RISE + noise[seed]
        made[Course("push", "mistake", "closest", seed)] = RISE + noise[seed] + gain * (1 + 0.01 * seed)
    return made


def test_saving_is_how_many_times_fewer_labels():
    assert saving(curves(0.0), "closest", [0, 1]) == pytest.approx(1.0, abs=0.05)
    halfway = (LABELS[0] + LABELS[-1]) / 2
    assert saving(curves(0.09), "closest", [0, 1]) == pytest.approx(LABELS[-1] / halfway, abs=0.05)


def test_courses_that_end_sooner_are_judged_where_they_end():
    short = {replace(course, until=LABELS[2]): curve[:3] for course, curve in curves(0.09).items()}
    assert 1.0 < saving(short, "closest", [0, 1]) <= LABELS[2] / LABELS[0]
    assert figures(short, ["uniform"])["uniform"]["labels_needed"] == LABELS[2]


def test_behind_is_what_is_lower_with_certainty():
    assert figures(curves(-0.02), ["closest"])["closest"]["behind"] == ["push mistake"]
    assert figures(curves(0.02), ["closest"])["closest"]["behind"] == []
    mean, half = lead(curves(0.02), "closest", "push", "mistake")
    assert mean == pytest.approx(0.0201, abs=1e-3)
    assert half < 0.01


def test_a_course_is_run_once_and_better_than_chance(tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "epochs", 20)
    rng = np.random.default_rng(0)
    quality = rng.normal(0, 1, 60)
    states = rng.normal(0, 0.3, (60, 6, 2)).astype(np.float32) + quality[:, None, None].astype(np.float32)
    made = Episodes(rng.normal(0, 1, (60, 6, 2)).astype(np.float32), states, 100 + 10 * quality, quality, UNKNOWN)
    course = Course("push", "ties", "d_optimal", 0)
    run(course, tmp_path, made)
    first = course.path(tmp_path).read_text()
    accuracy = np.array(json.loads(first)["accuracy"])
    assert len(accuracy) == len(LABELS)
    assert accuracy[-1] > 0.85
    run(course, tmp_path, None)
    assert course.path(tmp_path).read_text() == first


def test_rounds_start_where_the_course_says_and_share_what_was_asked_before(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(course_module, "fit", lambda features, pairs, *rest: asked.append(pairs) or Scorer())
    monkeypatch.setattr(course_module, "next_pairs", lambda *given: np.full((given[4], 2), -1))
    rng = np.random.default_rng(0)
    made = Episodes(
        np.zeros((60, 6, 2)), np.zeros((60, 6, 2)), 100 + rng.normal(0, 10, 60), rng.normal(0, 1, 60), UNKNOWN
    )
    for first, reads in ((EARLY, len(LABELS)), (LATE, len(LABELS) + 1)):
        asked.clear()
        assert len(course_module.accuracies(Course("push", "mistake", "uniform", 0, first), made)) == len(LABELS)
        assert [int((pairs[:, 0] >= 0).sum()) for pairs in asked] == [min(len(pairs), first) for pairs in asked]
        assert len(asked) == reads and len(asked[-1]) == LABELS[-1], "a start between two readings needs a model too"
    assert len(course_module.accuracies(Course("push", "mistake", "uniform", 0, LATE, LABELS[2]), made)) == 3
    early, late = (Course("push", "mistake", "uniform", 0, first) for first in (EARLY, LATE))
    assert early.path(tmp_path) != late.path(tmp_path) and early.arm != late.arm


def test_the_default_learns_from_the_pools_quality_and_an_arm_does_without(tmp_path, monkeypatch):
    given = []

    def fit(features, pairs, labels, seed, quartiles, known):
        given.append((pairs, quartiles, known))
        return Scorer()

    monkeypatch.setattr(course_module, "fit", fit)
    monkeypatch.setattr(course_module, "next_pairs", lambda *given: np.full((given[4], 2), -1))
    rng = np.random.default_rng(0)
    quality, arrived = rng.permutation(60).astype(float), rng.integers(13, size=60)
    made = Episodes(
        np.zeros((60, 6, 2)),
        np.arange(720.0).reshape(60, 6, 2),
        rng.normal(100, 10, 60),
        quality,
        successes(arrived, 12),
    )
    course = Course("push", "mistake", "uniform", 0, until=LABELS[0])
    course_module.accuracies(course, made)
    without = replace(course, prior=False)
    course_module.accuracies(without, made)
    (pairs, known, success), (same, nothing, none) = given
    assert nothing is None and none == [] and np.array_equal(pairs, same), "both are asked the same first pairs"
    pool = np.random.default_rng([0, *b"push"]).permutation(60)[:40]
    assert [one.success for one in success] == (arrived[pool] < 12).tolist()
    assert np.bincount(known.quartile).tolist() == [0, 10, 10, 10, 10]
    own = quality[pool]
    assert np.all(np.diff(known.quartile[own.argsort()]) >= 0), "quartiles are those of the quality"
    apart = np.abs(known.quartile[pairs[:, 0]] - known.quartile[pairs[:, 1]])
    assert np.mean(apart >= 2) == pytest.approx(0.3, abs=0.03), "and the first pairs are stratified by them"
    assert without.path(tmp_path) != course.path(tmp_path) and without.arm != course.arm


def test_savings_without_the_prior_are_against_uniform_pairs_with_it():
    made = curves(0.0)
    bare = {replace(one, prior=False): curve - 0.02 for one, curve in made.items()}
    found = figures(made | bare, ["uniform", "uniform, success unknown"])
    assert found["uniform, success unknown"]["behind"] == ["push mistake"]
    assert found["uniform, success unknown"]["saving"] < found["uniform"]["saving"]


def test_the_arms_are_the_strategies_and_two_without_the_prior():
    arms = [one.arm for one in courses(("push",), 1, ("uniform", "v_optimal"), LABELS[-1]) if one.teacher == "mistake"]
    assert arms[:2] == ["uniform", "v_optimal"] and len(set(arms)) == len(arms)
    assert arms[-2:] == ["uniform, success unknown", "v_optimal, success unknown"]
    named = courses(("push",), 1, ("uniform",), LABELS[-1], unaided=False)
    assert {one.arm for one in named} == {"uniform", "v_optimal, rounds from 160"}


def test_the_default_is_compared_with_what_other_labels_reached_also_between_two_readings():
    made = curves(0.0)
    level = (RISE[2] + RISE[3]) / 2
    found = compared(made, "closest", lambda seeds: level, 200)
    assert found["saving"] == pytest.approx(200 / ((LABELS[2] + LABELS[3]) / 2), abs=0.05)
    assert found["labels_needed"] == pytest.approx(200 / found["saving"], abs=1)
    assert found["saving_95"][0] <= found["saving"] <= found["saving_95"][1]
    assert reached(RISE, LABELS[3]) == pytest.approx(RISE[3]) and reached(RISE, 165) == pytest.approx(level)
    never = compared(made, "closest", lambda seeds: 1.0, 200)
    assert (never["labels_needed"], never["saving"]) == (None, 0.0)


RELEASE = {
    "ml_backend/__init__.py": "",
    "ml_backend/features.py": """
from collections import namedtuple
Features = namedtuple("Features", "frames actions state")
""",
    "ml_backend/dataset.py": "def Pairs(ids, a, b, label, weight): return a, b, label",
    "ml_backend/reward_model.py": "def ModelSpec(*given, **named): return None",
    "ml_backend/train.py": """
import types, numpy as np
def split_pairs(keys, seed): return len(keys)
def train_model(features, pairs, split, spec, reward, *, seed):
    a, b, label = pairs
    assert (len(a), split, seed) == (200, 200, 3) and len({*map(frozenset, zip(a, b))}) == 200
    rewards = np.array([one.state.mean() for one in features])
    better = rewards[a] > rewards[b]
    assert np.mean(better == (label > 0.5)) > 0.8
    model = types.SimpleNamespace(score=lambda items: (np.array([one.state.mean() for one in items]), None))
    return types.SimpleNamespace(model=model)
""",
    "preference/__init__.py": "",
    "preference/config.py": """
import types
def Reward(inputs): return types.SimpleNamespace(temporal="mean", hidden=8, members=1)
""",
}
"""What is called of a release, with the mean state as its reward."""


def test_the_first_release_runs_by_its_own_code_and_once(tmp_path):
    for name, text in RELEASE.items():
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rng = np.random.default_rng(0)
    returns = rng.normal(100, 10, 60)
    states = np.repeat(returns[:, None, None], 6, axis=1).astype(np.float32)
    made = {"push": Episodes(np.zeros((60, 6, 2), np.float32), states, returns, returns, UNKNOWN)}
    wanted = [Course("push", "mistake", strategy, 3) for strategy in ("uniform", "v_optimal")]
    found = first_release(tmp_path, tmp_path / "release", wanted, made, 1)
    assert found == {wanted[0]: 1.0}, "one model for all strategies, tested on held-out episodes"
    assert first_release(tmp_path, tmp_path / "gone", wanted, made, 1) == found


def test_a_dataset_says_at_which_step_an_episode_was_done():
    told = successes(np.array([0, 1, 10, 45, 50]), 50)
    assert [(one.success, one.done) for one in told] == [(True, 0), (True, 1), (True, 1), (True, 4), (False, None)]
