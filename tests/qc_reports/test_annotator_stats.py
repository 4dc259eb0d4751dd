"""Each figure is what it says, with its interval, and thresholds flag only what chance does not explain."""

import math
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from preference.config import Quality
from qc_reports.agreement.exact_tests import at_least, at_most, interval_of_share, sum_at_least, two_sided, worst_drop
from qc_reports.annotators.examine import flags
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered

QUALITY = Quality()


def test_every_figure_of_a_case_worked_by_hand():
    def own(pair, preference, seconds, **more):
        return Answered(pair, "x", preference, 4, int(seconds * 1000), **{"left": "A"} | more)

    answers = [
        own("p1", "A", 2, expected="A", created_at="2026-01-01T10:00:00Z"),
        own("p2", "B", 4, expected="A", created_at="2026-01-01T10:01:00Z"),
        own("p3", "equal", 6, created_at="2026-01-01T12:00:00Z"),
        own("p1", "B", 8, left="B", duplicate=True, created_at="2026-01-01T12:02:00Z"),
        Answered("p1", "y", "A"), Answered("p1", "z", "A"),
        Answered("p2", "y", "A"), Answered("p2", "z", "B"), Answered("p3", "y", "equal"),
    ]  # fmt: skip
    x = annotator_stats(answers, QUALITY)[0]
    assert (x.annotator_id, x.answers) == ("x", 4)
    assert (x.gold_agreement, x.gold) == (0.5, 2), "the second showing is not a gold answer"
    assert (x.self_consistency, x.duplicates) == (0.0, 1)
    assert (x.majority_agreement, x.majority) == (1.0, 1), "on p2 the others are split, on p3 one is no majority"
    assert (x.peer_agreement, x.peers) == (0.8, 5)
    assert (x.mean_response_s, x.median_response_s) == (5.0, 5.0)
    assert (x.too_fast, x.timed) == (0.25, 4)
    assert (x.left_share, x.sided) == (pytest.approx(2 / 3), 3)
    assert x.tie_rate == 0.25
    assert x.mean_confidence == 4 and x.confidence_counts == [0, 0, 0, 4, 0]
    assert x.intervals["gold_agreement"] == pytest.approx([0.0126, 0.9874], abs=1e-4)
    assert x.per_hour == pytest.approx(3600 * 2 / 180), "the break of two hours is not work"


def flagged(answers):
    return flags(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(0))


def test_what_is_unknown_is_nan_and_raises_no_flag():
    answers = [Answered(f"p{i}", "x", "A") for i in range(30)]
    bare = annotator_stats(answers, QUALITY)
    assert all(math.isnan(v) for v in (bare[0].gold_agreement, bare[0].mean_response_s, bare[0].left_share))
    assert all(math.isnan(v) for v in (bare[0].mean_confidence, bare[0].per_hour, bare[0].self_consistency))
    assert math.isnan(bare[0].confidence_auc) and "gold_agreement" not in bare[0].intervals
    assert flagged(answers) == []


def test_nobody_is_flagged_from_a_few_answers():
    few = [Answered(f"p{i}", "x", "A", 1, 500, left="A", expected="B") for i in range(QUALITY.min_answers - 1)]
    assert flagged(few) == []
    more = [*few, replace(few[0], pair_id="one more")]
    assert {flag.kind for flag in flagged(more)} >= {"gold", "speed"}


def test_a_flag_says_who_what_and_how_much():
    fast = [Answered(f"p{i}", "x", "A", 1, 1500) for i in range(10)]
    found = Flag("x", "speed", 1.5, 3.0, 10, ANY, 1.5, 1.5, QUALITY.min_answers, expected=3.0, p=ANY)
    assert flagged(fast) == [found] and flagged(fast)[0].p == pytest.approx(1 / 2**10)
    assert flagged(fast)[0].effect == -1.5, "seconds under the limit"
    assert flagged(fast)[0].sentence == "x answers in a median of 1.5 s, 100% in less than 3 s."


def test_one_coffee_break_hides_no_clicking():
    fast = [Answered(f"p{i}", "x", "A", 1, 900_000 if i == 5 else 1500) for i in range(40)]
    assert flagged(fast)[0].sentence == "x answers in a median of 1.5 s, 98% in less than 3 s."


def gold(right, of):
    """Right and wrong ones in turn, so that nothing changes half-way."""
    return [Answered(f"p{i}", "x", "A" if 7 * i % of < right else "B", 3, 3000, expected="A") for i in range(of)]


@pytest.mark.parametrize(
    ("right", "of", "kinds"), [(8, 10, []), (6, 10, []), (4, 10, ["gold"]), (31, 40, []), (24, 40, ["gold"])]
)
def test_more_than_a_fifth_of_gold_missed_is_a_flag_when_few_answers_do_not_explain_it(right, of, kinds):
    assert [flag.kind for flag in flagged(gold(right, of))] == kinds


def repeats(alike, of):
    first = [Answered(f"p{i}", "x", "AB"[i % 2]) for i in range(of)]
    again = [
        replace(a, duplicate=True, preference=a.preference if 9 * i % of < alike else "equal")
        for i, a in enumerate(first)
    ]
    return first + again


@pytest.mark.parametrize(
    ("alike", "of", "kinds"),
    [(10, 14, []), (8, 14, ["self_consistency"]), (75, 100, []), (70, 100, ["self_consistency"])],
)
def test_repeats_are_a_flag_when_one_who_is_consistent_enough_would_hardly_do_so_badly(alike, of, kinds):
    found = flagged(repeats(alike, of))
    assert [flag.kind for flag in found] == kinds
    assert all(flag.low < flag.value < flag.threshold for flag in found)


def test_confidence_that_tells_right_from_wrong_is_told_from_confidence_that_does_not():
    def auc(confident):
        answers = [replace(a, confidence=confident(a, i)) for i, a in enumerate(gold(60, 90))]
        return annotator_stats(answers, QUALITY)[0]

    telling, idle = auc(lambda a, i: 5 if a.preference == "A" else 1 + i % 3), auc(lambda a, i: 1 + i % 5)
    assert telling.confidence_auc == 1.0 and telling.confidence_p < 0.001
    assert 0.4 < idle.confidence_auc < 0.6 and idle.confidence_p > 0.2
    assert (auc(lambda a, i: 3).confidence_auc, auc(lambda a, i: 3).confidence_p) == (0.5, 1.0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_and_tails_are_those_of_scipy(case):
    hits, n = case
    exact = binomtest(hits, n).proportion_ci(method="exact")
    assert interval_of_share(hits, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert two_sided(hits, n) == pytest.approx(binomtest(hits, n).pvalue, abs=1e-9)
    assert at_least(hits, n, 0.3) == pytest.approx(binomtest(hits, n, 0.3, alternative="greater").pvalue, abs=1e-9)
    assert at_most(hits, n, 0.3) == pytest.approx(binomtest(hits, n, 0.3, alternative="less").pvalue, abs=1e-9)


def test_a_sum_over_difficulties_is_that_of_its_parts():
    assert sum_at_least(3, [(4, 0.5)]) == pytest.approx(5 / 16)
    assert sum_at_least(2, [(1, 0.5), (1, 0.2)]) == pytest.approx(0.1)


def test_a_random_order_looks_like_a_fall_as_often_as_its_p_says():
    found = []
    for seed in range(300):
        draw = np.random.default_rng(seed)
        found.append(worst_drop(draw.random(60), draw, shortest=10, least=-1.0, shuffles=99).p)
    assert 0.06 < np.mean(np.array(found) <= 0.1) < 0.15
    falling = np.r_[np.ones(40), np.zeros(30)]
    drop = worst_drop(falling, np.random.default_rng(0), shortest=10, least=0.2, shuffles=99)
    assert (drop.at, drop.before, drop.after) == (40, 1.0, 0.0)
    assert drop.p < 1e-4, "beyond what 99 shuffles can show"
