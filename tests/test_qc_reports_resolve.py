"""Each pair ends as one label or with the reason why not; a batch passes the gate or is held with reasons."""

import math

import pytest

from preference.config import Quality
from preference.records import Pair
from qc_reports.agreement import NOTHING, Interval
from qc_reports.answers import Answered
from qc_reports.flag import Flag
from qc_reports.gate import gate
from qc_reports.resolve import resolve

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


def test_an_excluded_annotator_does_not_vote():
    found = one(ballot("A", "A", "B"), excluded=frozenset({"a2"}))
    assert (found.reason, found.annotator_ids) == ("unanimous", ["a0", "a1"])


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


def status(alpha=GOOD, flags=(), waiting=0):
    return gate(alpha, flags, Quality(), waiting=waiting)


def test_a_good_batch_is_accepted():
    assert status() == ("accepted", ["Krippendorff's alpha is 0.70.", "No annotator needs a review."])


def test_an_unfinished_batch_stays_open_whatever_its_figures():
    assert status(Interval(0.1, 0, 0.2), [flag("gold")], waiting=3) == ("open", ["3 answers are still missing."])


@pytest.mark.parametrize(("alpha", "expected"), [(0.5499, "held"), (0.55, "accepted"), (-0.2, "held")])
def test_alpha_under_055_holds(alpha, expected):
    assert status(Interval(alpha, alpha, alpha))[0] == expected


def test_a_batch_without_overlap_is_not_held_for_an_alpha_that_does_not_exist():
    assert status(NOTHING) == ("accepted", ["No annotator needs a review."])


@pytest.mark.parametrize("kind", ["gold", "speed", "side_bias", "one_answer", "guessing", "swapped", "turned", "copy"])
def test_one_serious_flag_holds(kind):
    assert status(flags=[flag(kind)]) == ("held", [f"eve has {kind}."])


@pytest.mark.parametrize("kind", ["self_consistency", "majority"])
def test_a_lone_mild_flag_is_shown_and_does_not_hold(kind):
    found, reasons = status(flags=[flag(kind)])
    assert found == "accepted" and reasons[-1] == f"To watch: eve has {kind}."


def test_two_mild_flags_hold_when_they_are_one_persons():
    both = [flag("majority"), flag("self_consistency")]
    assert status(flags=both) == ("held", ["eve has majority.", "eve has self_consistency."])
    assert status(flags=[both[0], flag("self_consistency", "bob")])[0] == "accepted"


def test_every_mild_flag_is_named():
    reasons = status(flags=[flag("majority"), flag("self_consistency", "bob")])[1]
    assert "bob" in " ".join(reasons) and "eve" in " ".join(reasons)
