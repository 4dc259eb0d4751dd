"""Planted faults are flagged for the right reason by 200 judgments, and honest people, strict ones too, are not."""

from dataclasses import replace

import numpy as np
import pytest
from qc_maker import SWAP, draw_batch, draw_varied, without_hints
from real_judgments import SIGIR2010, exchangeable, sigir2010

from preference.config import Quality
from qc_reports.annotators.copies import copy_tests
from qc_reports.annotators.examine import flags
from qc_reports.annotators.protocol import thresholds
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered, votes
from qc_reports.report.batch_report import figures

QUALITY = Quality()
REASONS = {"clicker": "gold", "lefty": "side_bias", "fast": "speed", "copycat": "copy", "turncoat": "turned",
           "swapped": "swapped"}  # fmt: skip


def flagged(answers, seed=0):
    return flags(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("overlap", [2, 3])
@pytest.mark.parametrize(("fault", "reason"), REASONS.items())
def test_a_planted_fault_is_named_in_every_draw_and_the_honest_hardly_ever(fault, reason, overlap):
    innocent = 0
    for seed in range(6):
        found = flagged(draw_batch(seed, fault, overlap=overlap)[0], seed)
        assert reason in {flag.kind for flag in found if flag.annotator_id == fault}, f"seed {seed}"
        innocent += len({flag.annotator_id for flag in found} - {fault})
    assert innocent <= 1


@pytest.mark.parametrize("seed", [10, 12])
def test_gold_that_is_suspended_because_pairs_are_hard_still_helps_to_see_who_clicks_at_random(seed):
    answers = draw_batch(seed, "clicker", broad=True)[0]
    found = flagged(answers, seed)
    assert {flag.annotator_id for flag in found} == {"clicker"}
    assert "guessing" in {flag.kind for flag in found} and "gold" not in {flag.kind for flag in found}


def test_a_turncoats_flag_says_where_it_began():
    answers, _ = draw_batch(3, "turncoat")
    flag = next(flag for flag in flagged(answers) if flag.kind == "turned")
    own = [a for a in answers if a.annotator_id == "turncoat"]
    began = next(i for i, a in enumerate(own) if a.pair_id == flag.since and not a.duplicate)
    assert 80 <= began <= 120 and flag.value < 0.6 < flag.threshold
    assert flag.since in flag.sentence


def test_pairs_that_are_harder_for_everybody_make_nobody_a_turncoat():
    """An active round asks what is hard; three answers of five to its pairs are coin flips."""
    for seed in (9, 10, 11):
        rng = np.random.default_rng(seed)
        easy = [replace(a, batch_id="production-001") for a in draw_batch(seed, judgments=100)[0]]
        hard = [
            replace(
                a, pair_id=f"active-{a.pair_id}", batch_id="active-001", expected=None, stratum="adjacent",
                created_at=a.created_at.replace("2026-01", "2026-02"),
                preference=str(rng.choice(["A", "B"])) if rng.random() < 0.6 else a.preference,
            )
            for a in draw_batch(seed + 500, judgments=40)[0] if not a.duplicate
        ]  # fmt: skip
        found = flags(hard, annotator_stats(hard, QUALITY), QUALITY, rng=rng, earlier=[easy])
        assert [flag for flag in found if flag.kind == "turned"] == [], f"seed {seed}"


def test_of_two_who_answer_alike_the_later_one_is_named_and_both_where_no_times_are_known():
    answers, _ = draw_batch(1, "copycat")
    found = [flag for flag in flagged(answers) if flag.kind == "copy"]
    assert [(flag.annotator_id, flag.other) for flag in found] == [("copycat", "honest0")]
    timeless = [replace(a, created_at="") for a in answers]
    found = [flag for flag in flagged(timeless) if flag.kind == "copy"]
    assert {flag.annotator_id for flag in found} == {"copycat", "honest0"}


@pytest.mark.parametrize(("fault", "reason"), [("clicker", "guessing"), ("swapped", "swapped"), ("copycat", "copy")])
def test_three_columns_are_enough_to_see_it_against_the_others(fault, reason):
    found = flagged(without_hints(draw_batch(2, fault, overlap=3)[0]))
    assert reason in {flag.kind for flag in found if flag.annotator_id == fault}
    assert {flag.annotator_id for flag in found} <= {fault, "honest0"}


def test_of_two_who_oppose_each_other_nobody_is_accused_without_a_third():
    answers = [
        Answered(f"p{i}", who, word) for i in range(60) for who, word in (("x", "AB"[i % 2]), ("y", "BA"[i % 2]))
    ]
    assert flagged(answers) == []


def test_always_the_same_answer_is_seen_without_knowing_the_sides():
    answers = [replace(a, left=None) for a in draw_batch(4)[0]]
    steady = [replace(a, preference="A") if a.annotator_id == "honest1" else a for a in answers]
    kinds = {flag.kind for flag in flagged(steady) if flag.annotator_id == "honest1"}
    assert "one_answer" in kinds and "guessing" not in kinds
    easy = [Answered(f"p{i}", who, "A") for i in range(50) for who in ("x", "y", "z")]
    assert flagged(easy) == [], "all say A, so A may be right"


def test_the_right_side_is_a_bias_as_the_left_is():
    answers = draw_batch(5)[0]
    righty = [replace(a, preference=SWAP[a.left]) if a.annotator_id == "honest1" else a for a in answers]
    flag = next(flag for flag in flagged(righty) if flag.kind == "side_bias")
    assert flag.sentence.startswith(f"honest1 chose the right side in 100% of {flag.n} answers; on these pairs ")


def test_nobody_is_flagged_from_five_answers():
    for fault in REASONS:
        answers, _ = draw_batch(0, fault)
        few = [
            a for name in {a.annotator_id for a in answers} for a in [b for b in answers if b.annotator_id == name][:5]
        ]
        assert flagged(few) == []


def test_third_opinions_accuse_nobody_and_lower_no_agreement():
    answers, pairs = draw_batch(7, honest=4, strict=False)
    ballots = votes(answers)
    names = sorted({a.annotator_id for a in answers})
    thirds = []
    for number, (pair_id, ballot) in enumerate(sorted(ballots.items())):
        if len(set(ballot.values())) > 1:  # the last one in a queue that comes after everything else
            who = [name for name in names if name not in ballot][number % 2]
            one = next(a for a in answers if a.pair_id == pair_id and not a.duplicate)
            word = sorted(ballot.values())[number % 2]
            thirds.append(replace(one, annotator_id=who, preference=word, created_at="2026-02-01T00:00:00+00:00",
                                  assignment_id=f"third-{pair_id}", third=True))  # fmt: skip
    assert len(thirds) > 40
    with_thirds = [*answers, *thirds]
    assert flagged(answers) == flagged(with_thirds) == []
    rng = np.random.default_rng
    before, after = (figures("b", some, pairs, QUALITY, rng=rng(0)) for some in (answers, with_thirds))
    assert (before.alpha, before.kappa, before.parts) == (after.alpha, after.kappa, after.parts)
    assert after.resolved["unresolved"] == 0 < before.resolved["unresolved"], "what they are for"
    unmarked = figures("b", [replace(a, third=False) for a in with_thirds], pairs, QUALITY, rng=rng(0))
    assert unmarked.alpha != before.alpha, "what the mark is for"


def test_a_bad_colleague_is_no_stain_on_who_shares_pairs_with_them():
    for seed in range(4):
        found = flagged(draw_batch(seed, "clicker", honest=2, strict=False, overlap=2)[0], seed)
        assert {flag.annotator_id for flag in found} == {"clicker"}


@pytest.mark.skipif(not SIGIR2010.exists(), reason="the data set is not here")
@pytest.mark.parametrize("seed", [4, 27, 33])
def test_who_got_a_run_of_pairs_with_the_same_answer_is_not_accused_of_giving_it(seed):
    """Draws of real judgments in which everybody is alike; pairs of one worker resemble each other."""
    answers = exchangeable(sigir2010(), 3, np.random.default_rng([seed, 3]), shuffle_order=False)
    assert flagged(answers, seed) == []


def test_honest_people_who_differ_in_when_they_say_equal_are_hardly_ever_accused():
    assert sum(len(flagged(draw_varied(seed, sd=0.8), seed)) for seed in range(5)) <= 1


def test_everybody_who_could_have_copied_counts_as_a_test():
    answers, _ = draw_batch(1, "copycat")
    tests = copy_tests(answers, votes(answers), accused=())
    assert len(tests) == len({a.annotator_id for a in answers})
    assert [test.flag.annotator_id for test in tests if test.matters] == ["copycat"]
    assert all(test.flag.p == 1 for test in tests if not test.matters)


def test_speed_is_judged_by_the_median_however_short_the_mean():
    """A mean below the limit with a median above it: half of the answers took long enough."""
    times = [200] * 9 + [3500] * 11
    answers = [Answered(f"p{i}", "x", "AB"[i % 2], response_time_ms=t) for i, t in enumerate(times)]
    (row,) = annotator_stats(answers, QUALITY)
    assert row.mean_response_s < QUALITY.min_response_s < row.median_response_s
    assert flagged(answers) == []
    (plain,) = [row for row in thresholds([row], QUALITY) if row.kind == "speed"]
    assert plain.crossed, "the protocol's own limit is of the mean, and is in every report"


def test_who_starts_guessing_is_seen_more_often_than_not_where_pairs_are_very_differently_hard():
    """A check counts by how much it tells: unweighted, half of these were missed."""
    seen = sum(
        any((flag.annotator_id, flag.kind) == ("turncoat", "turned") for flag in flagged(answers, seed))
        for seed in range(10)
        for answers in [draw_batch(seed, "turncoat", broad=True)[0]]
    )
    assert seen >= 7
