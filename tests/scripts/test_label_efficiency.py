"""The benchmark of label efficiency reads its curves honestly, and goes on where it was stopped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from efficiency import course as course_module
from efficiency.course import EARLY, LABELS, LATE, SETTINGS, Course, run
from efficiency.episodes import Episodes
from efficiency.summary import figures, lead, needed, saving


class Scorer:
    def score(self, features):
        return np.zeros(len(features)), None


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
    made = Episodes(rng.normal(0, 1, (60, 6, 2)).astype(np.float32), states, 100 + 10 * quality)
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
    monkeypatch.setattr(course_module, "fit", lambda features, pairs, labels, seed: asked.append(pairs) or Scorer())
    monkeypatch.setattr(course_module, "next_pairs", lambda *given: np.full((given[4], 2), -1))
    rng = np.random.default_rng(0)
    made = Episodes(np.zeros((60, 6, 2)), np.zeros((60, 6, 2)), 100 + rng.normal(0, 10, 60))
    for first, reads in ((EARLY, len(LABELS)), (LATE, len(LABELS) + 1)):
        asked.clear()
        assert len(course_module.accuracies(Course("push", "mistake", "uniform", 0, first), made)) == len(LABELS)
        assert [int((pairs[:, 0] >= 0).sum()) for pairs in asked] == [min(len(pairs), first) for pairs in asked]
        assert len(asked) == reads and len(asked[-1]) == LABELS[-1], "a start between two readings needs a model too"
    assert len(course_module.accuracies(Course("push", "mistake", "uniform", 0, LATE, LABELS[2]), made)) == 3
    early, late = (Course("push", "mistake", "uniform", 0, first) for first in (EARLY, LATE))
    assert early.path(tmp_path) != late.path(tmp_path) and early.arm != late.arm
