"""Whoever answers as the expert does is certified; whoever does not is told what went wrong."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from preference.records import ANSWERS
from qc_reports.agreement.coefficients import kappa_standard_errors, kappas_of_tables
from qc_reports.answers import Answered
from qc_reports.certification import compare

TRUTH = {f"p{i:02d}": ANSWERS[i % 3] for i in range(42)}
DIMENSIONS = ("smoothness", "efficiency", "grasp")
OPTIONS = {"threshold": 0.65, "attempt": 1, "batch_id": "c", "last": True, "draws": 0, "rng": np.random.default_rng(0)}


def answers(given):
    return [
        Answered(p, "alice", given[p], 3, 9000, left="AB"[i // 3 % 2], dimension=DIMENSIONS[i // 14])
        for i, p in enumerate(TRUTH)
    ]


def attempt(given, **changes):
    options = {"threshold": 0.65, "attempt": 1, "batch_id": "calibration-1", "last": True, "draws": 300}
    return compare(answers(given), TRUTH, rng=np.random.default_rng(0), **options | changes)


def wrong_on(pairs):
    return TRUTH | {p: ANSWERS[(ANSWERS.index(TRUTH[p]) + 1) % 3] for p in pairs}


def test_answering_as_the_expert_certifies():
    result = attempt(TRUTH)
    assert result.certified and result.kappa == 1.0 and result.pairs == 42 and result.findings == []


@pytest.mark.parametrize(("wrong", "certified"), [(9, True), (10, False)])
def test_without_more_pairs_the_threshold_is_kappa_065(wrong, certified):
    given = wrong_on(list(TRUTH)[::4][:wrong])
    result = attempt(given)
    assert result.kappa == pytest.approx(cohen_kappa_score(list(TRUTH.values()), list(given.values())))
    assert result.certified is certified
    assert result.certified == (result.kappa >= 0.65)
    assert result.kappa_low < result.kappa < result.kappa_high


@pytest.mark.parametrize(
    ("wrong", "certified", "undecided"), [(0, True, False), (6, True, False), (8, False, True), (13, False, True),
                                          (14, False, False), (30, False, False)]
)  # fmt: skip
def test_an_interval_that_holds_the_threshold_asks_for_more_pairs(wrong, certified, undecided):
    result = attempt(wrong_on(list(TRUTH)[:wrong]), last=False)
    assert (result.certified, result.undecided) == (certified, undecided)


def test_the_standard_error_of_kappa_is_that_of_repeated_sets():
    rng = np.random.default_rng(3)
    truth, other = (rng.choice(3, (4000, 40), p=(0.44, 0.12, 0.44)) for _ in range(2))
    given = np.where(rng.random((4000, 40)) < 0.65, truth, other)
    tables = np.zeros((4000, 3, 3))
    for i in range(40):
        np.add.at(tables, (np.arange(4000), truth[:, i], given[:, i]), 1)
    spread = kappas_of_tables(tables).std()
    assert kappa_standard_errors(tables).mean() == pytest.approx(spread, rel=0.05)
    assert kappa_standard_errors(np.diag([3.0, 4.0, 5.0])[None])[0] < 1e-6
    assert kappa_standard_errors(np.diag([3.0, 0.0, 0.0])[None])[0] == 0.0


def test_random_answers_never_certify():
    for seed in range(20):
        draw = np.random.default_rng(seed)
        assert not attempt({p: str(draw.choice(ANSWERS)) for p in TRUTH}).certified


def test_always_the_left_is_refused_and_named():
    given = {answer.pair_id: answer.left for answer in answers(TRUTH)}
    result = attempt(given)
    assert not result.certified
    assert "Chose the left side in 42 of 42 answers." in result.findings


def test_avoiding_ties_is_named():
    result = attempt({p: "A" if t == "equal" else t for p, t in TRUTH.items()})
    assert result.findings[0] == "Never answered equal; the expert did 14 times."


def test_a_weak_dimension_is_named():
    result = attempt(wrong_on(list(TRUTH)[14:22]))
    assert result.findings == ["Missed 8 of 14 pairs about efficiency."]


def test_a_weak_stratum_and_swapped_sides_are_named():
    own = [
        replace(a, stratum="same" if i < 14 else "distant") for i, a in enumerate(answers(wrong_on(list(TRUTH)[:9])))
    ]
    options = {
        "threshold": 0.65,
        "attempt": 1,
        "batch_id": "c",
        "last": True,
        "draws": 0,
        "rng": np.random.default_rng(0),
    }
    assert "Missed 9 of 14 pairs of same quartiles." in compare(own, TRUTH, **options).findings
    swapped = {"A": "B", "B": "A", "equal": "equal"}
    found = attempt({p: swapped[t] for p, t in TRUTH.items()}).findings
    assert found == ["Took the opposite side of the expert in 28 of 28 pairs. Were the sides confused?"]


def test_the_pairs_to_go_over_again_are_the_missed_ones_opposite_sides_first():
    given = TRUTH | {"p00": "equal", "p30": "B", "p33": "B", "p01": "A"}
    assert attempt(given).review == ["p30", "p33", "p01", "p00"]
    assert attempt(TRUTH).review == []


def test_answers_on_other_pairs_and_second_showings_do_not_count():
    own = answers(TRUTH)
    more = [replace(own[0], pair_id="elsewhere", preference="B"), replace(own[0], preference="B", duplicate=True)]
    result = compare(
        own + more, TRUTH, threshold=0.65, attempt=1, batch_id="c", last=True, draws=0, rng=np.random.default_rng(0)
    )
    assert result.pairs == 42 and result.kappa == 1.0
