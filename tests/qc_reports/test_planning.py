"""What a campaign would cost and give: the simulation says what the same people would really do."""

import numpy as np
import pytest

from preference.records import Pair
from qc_reports.agreement.coefficients import krippendorff_alpha
from qc_reports.answers import Answered, votes
from qc_reports.planning import Crew, crew, labels_of, overlap_table
from qc_reports.resolution.vote import resolve

SCALE = ("A", "equal", "B")
PAIR = Pair("p", "a", "b", "push", "same", "production", "production-001")
SETTINGS = {"duplicates": 0.0, "hourly": (40.0, 60.0)}


def careful(*kinds):
    """Five people who always look, and pairs of the given kinds in equal shares."""
    said = np.array(kinds)
    frequency = np.full(len(kinds), 1 / len(kinds))
    return Crew(said, frequency, np.tile([1.0, 0.0, 0.0], (5, 1)), frequency @ said, 0)


def answered(rng, pairs, people=5, sure=0.8):
    """Two of `people` answer each pair; the better one is named in a share `sure`, equal and worse share the rest."""
    rows = []
    for i in range(pairs):
        better, worse = ("A", "B") if i % 2 else ("B", "A")
        for who in rng.choice(people, 2, replace=False):
            word = rng.choice([better, "equal", worse], p=[sure, (1 - sure) / 2, (1 - sure) / 2])
            rows.append(Answered(f"p{i}", f"w{who}", str(word)))
    return rows


def table(group, pairs=1000, **more):
    return overlap_table(group, pairs, rng=np.random.default_rng(0), **{**SETTINGS, **more})


def test_people_who_never_differ_agree_and_lose_nothing():
    for row in table(careful((1, 0, 0), (0, 0, 1))):
        assert (row.alpha, row.lost, row.right) == (1.0, 0.0, 1.0)
        assert row.answers == 1000 * row.overlap
        assert row.hours == pytest.approx((row.answers / 60, row.answers / 40))


def test_a_third_is_asked_where_two_differ_and_three_different_answers_are_lost():
    third = 1 / 3
    two = table(careful((third, third, third)), wage=30.0)[0]
    assert two.alpha == pytest.approx(0, abs=0.02)
    assert two.answers == pytest.approx(1000 * (2 + 2 / 3), rel=0.02)
    assert two.lost == pytest.approx(2 / 9, abs=0.01)
    assert two.cost == pytest.approx(tuple(30 * hours for hours in two.hours))


def test_the_table_is_what_the_same_people_would_do(rng=np.random.default_rng(5)):
    """Fitted on 300 pairs, compared with 4,000 pairs of the same people."""
    row = table(crew(answered(rng, 300), 5), pairs=300)[0]
    real = answered(rng, 4000)
    assert row.alpha == pytest.approx(krippendorff_alpha(votes(real), draws=0, rng=rng).value, abs=0.08)
    samples = [krippendorff_alpha(votes(answered(rng, 300)), draws=0, rng=rng).value for _ in range(40)]
    assert row.alpha_high - row.alpha_low == pytest.approx(4 * np.std(samples), rel=0.4)


def test_more_pairs_narrow_the_interval_and_nobody_is_asked_twice():
    group = crew([], 3)
    wide, narrow = table(group, pairs=100)[0], table(group, pairs=5000)[0]
    assert wide.alpha_high - wide.alpha_low > 5 * (narrow.alpha_high - narrow.alpha_low)
    assert [row.overlap for row in table(group)] == [2, 3], "three people cannot be four a pair"
    assert 0.55 < narrow.alpha < 0.70, "typical people are as the protocol expects"


def test_typical_people_are_taken_until_enough_pairs_have_two_answers():
    rng = np.random.default_rng(1)
    assert crew(answered(rng, 49), 5).pairs == 0
    assert crew(answered(rng, 50), 5).pairs == 50
    assert len(crew(answered(rng, 60, people=4), 9).reliability) == 9


def test_labels_follow_the_rule_that_resolves_real_votes():
    kinds = np.array([(a, e, b) for a in range(4) for e in range(4) for b in range(4) if 0 < a + e + b < 5])
    for row, label in zip(kinds, labels_of(kinds), strict=True):
        ballots = [word for word, n in zip(SCALE, row, strict=True) for _ in range(n)]
        answers = [Answered("p", f"w{i}", word) for i, word in enumerate(ballots)]
        (found,) = resolve([PAIR], answers)
        assert (found.preference, int(label)) in {(1.0, 0), (0.5, 1), (0.0, 2), (None, -1)}
