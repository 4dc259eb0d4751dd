"""Each pair ends as one label or with the reason why not; a batch passes the gate or is held with reasons."""

import math
from typing import get_args

import numpy as np
import pytest

from preference.config import Quality
from preference.records import Pair, Review
from qc_reports.agreement.coefficients import NOTHING, Interval
from qc_reports.annotators.flag import Flag, Kind
from qc_reports.annotators.reviews import review_status
from qc_reports.answers import Answered
from qc_reports.report.batch_report import figures
from qc_reports.report.gate import gate
from qc_reports.resolution.vote import resolve

PAIR = Pair("p", "t1", "t2", "push", "adjacent", "production")
GOOD = Interval(0.7, 0.6, 0.8)


def ballot(*preferences, **more):
    return [Answered("p", f"a{i}", preference, i + 1, **more) for i, preference in enumerate(preferences)]


def one(answers, **options):
    return resolve([PAIR], answers, **options)[0]


@pytest.mark.parametrize(
    ("votes", "label", "reason", "agreement"),
    [
        ("A", 1.0, "single", 1),
        ("AA", 1.0, "unanimous", 1),
        ("BB", 0.0, "unanimous", 1),
        ("==", 0.5, "unanimous", 1),
        ("AB", None, "needs_third", 1 / 2),
        ("A=", None, "needs_third", 1 / 2),
        ("AAB", 1.0, "majority", 2 / 3),
        ("ABB", 0.0, "majority", 2 / 3),
        ("A==", 0.5, "majority", 2 / 3),
        ("AB=", None, "ambiguous", 1 / 3),
        ("AABB", None, "ambiguous", 1 / 2),
        ("AAB=", 1.0, "majority", 1 / 2),
    ],
)
def test_the_majority_decides(votes, label, reason, agreement):
    found = one(ballot(*("equal" if vote == "=" else vote for vote in votes)))
    assert (found.preference, found.reason) == (label, reason)
    assert found.agreement == pytest.approx(agreement)
    assert found.num_annotators == len(votes) == len(found.annotator_ids)
    assert found.confidence_mean == pytest.approx((1 + len(votes)) / 2)


def test_the_order_of_the_answers_changes_nothing():
    answers = ballot("A", "B", "B")
    assert one(answers) == one(answers[::-1])


def test_a_pair_without_answers_is_unanswered():
    found = one([])
    assert (found.preference, found.reason, found.num_annotators) == (None, "unanswered", 0)
    assert math.isnan(found.agreement) and math.isnan(found.confidence_mean)


@pytest.mark.parametrize("votes", ["A", "AA", "AB"])
def test_nothing_is_decided_while_somebody_has_still_to_answer(votes):
    found = one(ballot(*votes), waiting={"p": 1})
    assert (found.preference, found.reason) == (None, "unanswered")


def test_a_second_showing_does_not_vote():
    again = Answered("p", "a0", "B", 5, duplicate=True)
    assert one([*ballot("A", "A"), again]) == one(ballot("A", "A"))
    assert one([again]).reason == "unanswered"


def test_where_no_answer_counts_the_reason_says_why():
    assert one([], aside={"p": "needs_review"}).reason == "needs_review"
    assert one(ballot("A"), aside={"p": "needs_review"}).reason == "single", "somebody else's answer counts"
    assert one([], waiting={}).reason == "skipped", "nobody is waited for, and nobody answered"


def test_a_held_batch_has_no_labels():
    pair = Pair("p", "t1", "t2", "push", "adjacent", "production", batch_id="production-001")
    found = resolve([pair], ballot("A", "A"), held={"production-001"})[0]
    assert (found.preference, found.reason) == (None, "held")


def test_unknown_confidence_is_nan_and_known_ones_are_averaged():
    assert math.isnan(one([Answered("p", "x", "A")]).confidence_mean)
    assert one([Answered("p", "x", "A"), Answered("p", "y", "A", 4)]).confidence_mean == 4


def test_pairs_come_back_in_their_order_with_their_trajectories():
    pairs = [Pair(name, f"{name}-a", f"{name}-b", "push", "same", "active") for name in ("z", "m", "a")]
    found = resolve(pairs, [Answered("m", "x", "B")])
    assert [(p.pair_id, p.trajectory_a_id, p.trajectory_b_id) for p in found] == [
        ("z", "z-a", "z-b"),
        ("m", "m-a", "m-b"),
        ("a", "a-a", "a-b"),
    ]


def flag(kind, name="eve"):
    return Flag(name, kind, 0.5, 0.2, 20, f"{name} has {kind}.")


def status(alpha=GOOD, flags=(), waiting=0, reviews=()):
    return gate({"": alpha}, flags, Quality(), waiting=waiting, where=review_status(flags, reviews))


def review(verdict, *kinds):
    return Review("production-001", "eve", verdict, list(kinds), "maria", "2026-01-05T09:00:00+00:00", "looked at 20")


def test_a_good_batch_is_accepted():
    assert status(Interval(0.7, 0.61, 0.78)) == (
        "accepted",
        ["Krippendorff's alpha is 0.700 (95 % interval 0.610 to 0.780).", "No annotator needs a review."],
    )


def test_an_unfinished_batch_stays_open_whatever_its_figures():
    assert status(Interval(0.1, 0, 0.2), [flag("gold")], waiting=3) == ("open", ["3 answers are still missing."])


@pytest.mark.parametrize(("alpha", "expected"), [(0.5499, "held"), (0.55, "accepted"), (-0.2, "held")])
def test_alpha_under_055_holds(alpha, expected):
    assert status(Interval(alpha, alpha, alpha))[0] == expected
    assert status(Interval(alpha, math.nan, math.nan))[0] == expected


def test_an_alpha_that_may_be_low_by_chance_is_said_and_holds_by_the_protocols_rule_only():
    alpha = {"": Interval(0.5, 0.35, 0.63)}
    found = gate(alpha, [], Quality(), waiting=0, where=review_status([], []))
    assert found[0] == "accepted"
    assert (
        found[1][0] == "Krippendorff's alpha is 0.500 (95 % interval 0.350 to 0.630), below 0.55, which may be chance."
    )
    assert gate(alpha, [], Quality(flags="protocol"), waiting=0, where=review_status([], []))[0] == "held"


def test_pairs_that_a_rule_chose_are_never_held_for_being_hard_but_for_people():
    def active(*flags):
        where = review_status(flags, ())
        return gate({}, flags, Quality(), waiting=0, where=where, reported=Interval(0.2, 0.1, 0.3))

    words = "Krippendorff's alpha is 0.200 (95 % interval 0.100 to 0.300); it does not hold pairs that a rule chose."
    assert active() == ("accepted", [words, "No annotator needs a review."])
    assert active(flag("gold")) == ("held", ["eve has gold."])


def test_alpha_is_asked_of_the_stratified_pairs_and_of_the_whole_dataset():
    """Production and an active round in which people differ on half of the pairs, as they should there."""

    def batch(name, kind, differing):
        pairs = [Pair(f"{name}{i}", f"{name}{i}a", f"{name}{i}b", "push", "same", kind, name) for i in range(60)]
        words = [("AB"[i % 2], "BA"[i % 2] if i < differing else "AB"[i % 2]) for i in range(60)]
        return pairs, [Answered(p.pair_id, who, w) for p, own in zip(pairs, words, strict=True)
                       for who, w in zip(("x", "y"), own, strict=True)]  # fmt: skip

    (easy, agreed), (hard, differed) = batch("p", "production", 3), batch("q", "active", 40)

    def reasons(pairs, answers):
        report = figures("b", answers, pairs, Quality(), rng=np.random.default_rng(0), open_assignments=[])
        return report.status, [r for r in report.reasons if "alpha" in r]

    assert reasons(hard, differed)[0] == "accepted"
    assert reasons(easy, agreed)[0] == "accepted"
    status, said = reasons([*easy, *hard], [*agreed, *differed])
    assert status == "held"
    assert said[0].startswith("Krippendorff's alpha of the whole dataset is 0.2") and len(said) == 1


def test_a_batch_without_overlap_is_not_held_for_an_alpha_that_does_not_exist():
    assert status(NOTHING) == ("accepted", ["No annotator needs a review."])


@pytest.mark.parametrize("kind", get_args(Kind))
def test_any_flag_holds_until_it_is_reviewed(kind):
    assert status(flags=[flag(kind)]) == ("held", [f"eve has {kind}."])
    for verdict, words in (("keep", "count"), ("leave_out", "are left out")):
        found, reasons = status(flags=[flag(kind)], reviews=[review(verdict, kind)])
        assert found == "accepted"
        assert reasons[-1] == f"eve was reviewed by maria on 2026-01-05: the judgments {words} (looked at 20)."


def test_a_flag_that_the_review_did_not_see_asks_again_unless_all_is_left_out_already():
    flags = [flag("gold"), flag("copy")]
    assert status(flags=flags, reviews=[review("keep", "gold")])[0] == "held"
    assert status(flags=flags, reviews=[review("leave_out", "gold")])[0] == "accepted"
    assert status(flags=[flag("gold")], reviews=[review("keep", "gold", "copy")])[0] == "accepted"


def test_every_flag_is_named():
    reasons = status(flags=[flag("majority"), flag("self_consistency", "bob")])[1]
    assert reasons == ["eve has majority.", "bob has self_consistency."]
