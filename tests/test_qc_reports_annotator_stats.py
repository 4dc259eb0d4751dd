"""Planted bad annotators are flagged in every draw, honest ones are not, and each figure is what it says."""

import math
from dataclasses import replace

import numpy as np
import pytest

from preference.config import Quality
from preference.records import ANSWERS
from qc_reports.annotator_stats import Flag, annotator_stats, flags
from qc_reports.answers import Answered

QUALITY = Quality()


HONEST = ("ann", "ben", "cat", "strict")
SWAPPED = {"A": "B", "B": "A"}


def draw_batch(seed, bad, pairs=200, overlap=2):
    """200 pairs, two votes each, by four honest annotators and a bad one.

    A third of the pairs are gold, clear to all. `strict` is honest, but answers equal on every close pair, of which
    the others see a winner.
    """
    rng = np.random.default_rng(seed)
    answers = []
    for i in range(pairs):
        gold = rng.random() < 0.3
        truth = str(rng.choice(["A", "B"] if gold else ANSWERS, p=None if gold else [0.44, 0.44, 0.12]))
        close = not gold and rng.random() < 0.2
        for name in map(str, rng.choice([*HONEST, bad], overlap, replace=False)):
            left = str(rng.choice(["A", "B"]))
            shown = Answered(
                f"p{i:03d}", name, "A", 3, _milliseconds(name, rng), left=left, expected=truth if gold else None
            )
            answers.append(replace(shown, preference=_answer(name, truth, close, left, rng)))
            if rng.random() < 0.3:
                again = replace(shown, left=SWAPPED[left], duplicate=True)
                answers.append(replace(again, preference=_answer(name, truth, close, SWAPPED[left], rng, again=True)))
    return answers


def _milliseconds(name, rng):
    return int(1000 * rng.lognormal(0.5 if name in ("clicker", "fast") else 2.5, 0.4))


def _answer(name, truth, close, left, rng, again=False):
    if name == "clicker" or (name == "fickle" and again):
        return str(rng.choice(ANSWERS))
    if name == "lefty":
        return left
    if name == "strict" and close:
        return "equal"
    return truth if rng.random() < 0.96 else str(rng.choice(ANSWERS))


def kinds(seed, bad):
    """Annotator → the kinds of their flags."""
    result = {}
    for flag in flags(annotator_stats(draw_batch(seed, bad), QUALITY), QUALITY):
        result.setdefault(flag.annotator_id, set()).add(flag.kind)
    return result


@pytest.mark.parametrize(
    ("bad", "faults"),
    [("clicker", {"gold", "speed"}), ("lefty", {"gold", "side_bias"}), ("fast", {"speed"}),
     ("fickle", {"self_consistency"})],
)  # fmt: skip
def test_a_planted_fault_is_flagged_and_the_honest_are_not_over_twenty_draws(bad, faults):
    for seed in range(20):
        found = kinds(seed, bad)
        assert faults <= found.get(bad, set()), f"seed {seed}"
        assert not found.keys() & set(HONEST), f"seed {seed}: {found}"


def test_every_figure_of_a_case_worked_by_hand():
    def own(pair, preference, seconds, **more):
        return Answered(pair, "x", preference, 4, int(seconds * 1000), **{"left": "A"} | more)

    answers = [
        own("p1", "A", 2, expected="A", created_at="2026-01-01T10:00:00Z"),
        own("p2", "B", 4, expected="A", created_at="2026-01-01T10:01:00Z"),
        own("p3", "equal", 6, created_at="2026-01-01T12:00:00Z"),
        own("p1", "B", 8, left="B", duplicate=True, created_at="2026-01-01T12:02:00Z"),
        Answered("p1", "y", "A"), Answered("p1", "z", "A"),
        Answered("p2", "y", "A"), Answered("p2", "z", "B"),
    ]  # fmt: skip
    x = annotator_stats(answers, QUALITY)[0]
    assert (x.annotator_id, x.answers) == ("x", 4)
    assert (x.gold_agreement, x.gold) == (0.5, 2), "the second showing is not a gold answer"
    assert (x.self_consistency, x.duplicates) == (0.0, 1)
    assert (x.majority_agreement, x.majority) == (1.0, 1), "on p2 the others are split, p3 has no others"
    assert (x.mean_response_s, x.median_response_s) == (5.0, 5.0)
    assert (x.too_fast, x.timed) == (0.25, 4)
    assert (x.left_share, x.sided) == (pytest.approx(2 / 3), 3)
    assert x.tie_rate == 0.25
    assert x.mean_confidence == 4
    assert x.per_hour == pytest.approx(3600 * 2 / 180), "the break of two hours is not work"


def test_what_is_unknown_is_nan_and_raises_no_flag():
    bare = annotator_stats([Answered(f"p{i}", "x", "A") for i in range(30)], QUALITY)
    assert all(math.isnan(v) for v in (bare[0].gold_agreement, bare[0].mean_response_s, bare[0].left_share))
    assert all(math.isnan(v) for v in (bare[0].mean_confidence, bare[0].per_hour, bare[0].self_consistency))
    assert flags(bare, QUALITY) == []


def test_nobody_is_flagged_from_a_few_answers():
    few = [Answered(f"p{i}", "x", "A", 1, 500, left="A", expected="B") for i in range(QUALITY.min_answers - 1)]
    assert flags(annotator_stats(few, QUALITY), QUALITY) == []
    more = [*few, replace(few[0], pair_id="one more")]
    assert {flag.kind for flag in flags(annotator_stats(more, QUALITY), QUALITY)} == {"gold", "speed"}


def test_a_flag_says_who_what_and_how_much():
    fast = [Answered(f"p{i}", "x", "A", 1, 1500) for i in range(10)]
    assert flags(annotator_stats(fast, QUALITY), QUALITY) == [
        Flag("x", "speed", 1.5, 3.0, 10, "x answers in 1.5 s on average, 100% in less than 3 s.")
    ]


def test_exactly_at_a_threshold_there_is_no_flag():
    gold = [Answered(f"p{i}", "x", "A" if i < 8 else "B", 3, 3000, expected="A") for i in range(10)]
    assert flags(annotator_stats(gold, QUALITY), QUALITY) == []
