"""Agreement figures equal other people's implementations, hand-worked cases and published results."""

import csv
import json
import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import DATA
from sklearn.metrics import cohen_kappa_score

from qc_reports.agreement.coefficients import (
    SCALE,
    cohen_kappa_interval,
    confusions,
    krippendorff_alpha,
    pairwise_kappas,
    resampled_alphas,
)

SHEETS = st.integers(2, 5).flatmap(
    lambda people: st.lists(
        st.lists(st.sampled_from([*SCALE, None]), min_size=people, max_size=people), min_size=1, max_size=25
    )
)
"""One row per pair, one cell per annotator, None = not asked."""


def rng():
    return np.random.default_rng(0)


def alpha(votes):
    return krippendorff_alpha(votes, draws=0, rng=rng()).value


def cohen_kappa(first, second):
    return cohen_kappa_interval(first, second, draws=0, rng=rng()).value


def as_votes(sheet):
    return {f"p{i}": {f"a{k}": v for k, v in enumerate(row) if v is not None} for i, row in enumerate(sheet)}


def needs(path):
    if not path.exists():
        pytest.skip(f"{path} is not here: real judgments are kept outside the repository")
    return path


class Draw:
    """Draws the pairs that it is given, and counts how often."""

    def __init__(self, times):
        self.times = times

    def multinomial(self, n, shares, size):
        return np.tile(self.times, (size, 1))


@given(SHEETS, st.randoms(use_true_random=False))
def test_alpha_and_its_bootstrap_are_those_of_the_krippendorff_package(sheet, chance):
    codes = np.array([[np.nan if v is None else SCALE.index(v) for v in row] for row in sheet], float).T
    counted = [row for row in sheet if sum(v is not None for v in row) > 1]
    values = {v for row in counted for v in row if v is not None}
    if len(values) < 2:
        assert math.isnan(alpha(as_votes(sheet)))
        return
    expected = krippendorff.alpha(codes, level_of_measurement="ordinal", value_domain=[0, 1, 2])
    assert alpha(as_votes(sheet)) == pytest.approx(expected, abs=1e-9)
    counts = np.array([[row.count(word) for word in SCALE] for row in counted])
    types = np.unique(counts, axis=0)
    times = np.array([chance.randint(0, 3) for _ in types])
    drawn = np.repeat(types, times, axis=0)
    if (drawn.sum(axis=0) > 0).sum() > 1:
        expected = krippendorff.alpha(value_counts=drawn, level_of_measurement="ordinal", value_domain=[0, 1, 2])
        assert resampled_alphas(counts, 2, Draw(times)) == pytest.approx([expected, expected], abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from(SCALE), st.sampled_from(SCALE)), min_size=2, max_size=60))
def test_kappa_is_that_of_scikit_learn(answers):
    first, second = zip(*answers, strict=True)
    if len({*first, *second}) > 1:
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_kappa_of_a_case_worked_by_hand():
    # 10 items, 7 alike; A: 5 and 6, B: 5 and 4, so expected = .5*.6 + .5*.4 = .5 and kappa = (.7 - .5) / .5
    first = ["A"] * 4 + ["B"] * 3 + ["A"] + ["B"] * 2
    second = ["A"] * 4 + ["B"] * 3 + ["B"] + ["A"] * 2
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_alpha_of_a_case_worked_by_hand():
    # Coincidences AA 2, BB 2, A-B 2 once each way; marginals 3 and 3; D_o = 2/6, D_e = 18/30, alpha = 1 - 5/9.
    votes = {"p1": {"x": "A", "y": "A"}, "p2": {"x": "B", "y": "B"}, "p3": {"x": "A", "y": "B"}}
    assert alpha(votes) == pytest.approx(4 / 9)


def test_a_tie_against_a_side_costs_less_than_opposite_sides():
    agreed = {f"p{i}": {"x": v, "y": v} for i, v in enumerate(["A", "equal", "B"] * 4)}
    assert alpha(agreed | {"q": {"x": "A", "y": "equal"}}) > alpha(agreed | {"q": {"x": "A", "y": "B"}})


def test_full_agreement_is_one_and_systematic_opposition_is_below_zero():
    assert alpha({"p": {"x": "A", "y": "A"}, "q": {"x": "B", "y": "B"}}) == pytest.approx(1)
    assert alpha({f"p{i}": {"x": "A", "y": "B"} for i in range(9)}) < 0


@pytest.mark.parametrize("votes", [{}, {"p": {"x": "A"}}, {"p": {"x": "A", "y": "A"}}])
def test_where_nothing_can_be_compared_there_is_no_alpha(votes):
    interval = krippendorff_alpha(votes, draws=50, rng=rng())
    assert all(map(math.isnan, (interval.value, interval.low, interval.high)))


def test_intervals_hold_the_value_and_shrink_with_more_pairs():
    def interval(pairs):
        draw = np.random.default_rng(7)
        truth = draw.choice(SCALE, pairs)
        noisy = [t if draw.random() < 0.8 else draw.choice(SCALE) for t in truth]
        votes = {f"p{i}": {"x": a, "y": b} for i, (a, b) in enumerate(zip(truth, noisy, strict=True))}
        kappa = cohen_kappa_interval(list(truth), noisy, draws=500, rng=rng())
        return krippendorff_alpha(votes, draws=500, rng=rng()), kappa

    for few, many in zip(interval(40), interval(1000), strict=True):
        assert few.low < few.value < few.high
        assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_seed_gives_the_same_interval():
    votes = {f"p{i}": {"x": SCALE[i % 3], "y": SCALE[i % 2]} for i in range(30)}
    assert krippendorff_alpha(votes, draws=100, rng=rng()) == krippendorff_alpha(votes, draws=100, rng=rng())


def test_kappas_are_taken_over_shared_pairs_only():
    votes = {"p": {"x": "A", "y": "A"}, "q": {"x": "B", "y": "B"}, "r": {"x": "A", "z": "B"}, "s": {"z": "B"}}
    assert pairwise_kappas(*confusions(votes)) == [("x", "y", 2, 1.0), ("x", "z", 1, 0.0)]


def test_the_published_figures_of_pandalm_come_out():
    rows = json.loads(needs(DATA / "pandalm" / "testset-v1.json").read_text(encoding="utf-8"))
    words = {1: "A", 2: "B", 0: "equal"}
    votes = {str(row["idx"]): {f"annotator{k}": words[int(row[f"annotator{k}"])] for k in (1, 2, 3)} for row in rows}
    assert len(votes) == 999
    kappas = {
        (first[-1], second[-1]): round(kappa, 3) for first, second, _, kappa in pairwise_kappas(*confusions(votes))
    }
    assert sorted(kappas.values()) == [0.852, 0.862, 0.879]
    interval = krippendorff_alpha(votes, draws=200, rng=rng())
    assert 0.8 < interval.low < interval.value < interval.high < 0.95


def test_the_crowd_votes_of_79_real_workers_give_the_packages_alpha():
    path = needs(DATA / "sigir2010_music" / "judgments.csv")
    words = {"a": "A", "b": "B", "s": "equal"}
    votes = {}
    with path.open(encoding="latin-1", newline="") as file:
        for row in csv.DictReader(file):
            item = "|".join(row[f"Input.{part}"] for part in ("query", "docA", "docB"))
            if row["Answer.radio"]:  # five of the 2810 rows were sent without an answer
                votes.setdefault(item, {})[row["WorkerId"]] = words[row["Answer.radio"]]
    workers = sorted({worker for ballots in votes.values() for worker in ballots})
    assert (len(votes), len(workers), sum(map(len, votes.values()))) == (281, 79, 2805)
    codes = [[SCALE.index(b[w]) if w in b else np.nan for b in votes.values()] for w in workers]
    expected = krippendorff.alpha(np.array(codes, float), level_of_measurement="ordinal", value_domain=[0, 1, 2])
    assert alpha(votes) == pytest.approx(expected, abs=1e-9)
