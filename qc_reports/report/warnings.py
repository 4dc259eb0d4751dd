"""What a reader must know before trusting the figures: answers go in, sentences come out.

A figure that cannot be computed is nan, and here is why. The order: what stands in the way of everything first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from preference.records import Answer
from qc_reports.agreement.coefficients import ENOUGH_SHARED, confusions
from qc_reports.agreement.exact_tests import interval_of_share
from qc_reports.answers import Answered, planned, votes

ENOUGH = 30
"""Pairs with two votes from which on a stratum's disagreement is spoken of."""
EASY = 0.15
"""Pairs of one quartile should divide people; where the whole interval lies below, the tiers are badly calibrated."""
HARD = 0.2
"""Gold pairs should not; where the whole interval lies above, they are no gold. The protocol's limit for one person."""


def warnings(answers: Sequence[Answered]) -> list[str]:
    """One sentence for each thing that the answers cannot tell; empty when they tell all."""
    ballots = votes(planned(answers))
    return [*_agreement(answers), *_strata(answers, ballots), *_shared(ballots), *_unknown(answers)]


def _agreement(answers: Sequence[Answered]) -> list[str]:
    people = sorted({answer.annotator_id for answer in answers})
    words = {answer.preference for answer in answers}
    found = []
    if len(people) == 1:
        found.append(f"Only {people[0]} answered: agreement cannot be measured with one annotator.")
    elif all(len(ballots) < 2 for ballots in votes(answers).values()):
        found.append(f"No pair was answered by two of the {len(people)} annotators: agreement cannot be measured.")
    if len(words) == 1:
        found.append(f"Every answer is {words.pop()}: agreement beyond chance has no meaning, so alpha is not given.")
    return found


def _strata(answers: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    """Hard pairs that are easy, and easy ones that are hard: then the quartiles do not say how good a trajectory is."""
    found = []
    differing, n = _differing(ballots, {a.pair_id for a in answers if a.stratum == "same"})
    if n >= ENOUGH and interval_of_share(differing, n)[1] < EASY:
        found.append(
            f"Annotators differ on only {differing} of {n} pairs of one quartile, which should be hard: the tiers may "
            "be badly calibrated."
        )
    differing, n = _differing(ballots, {a.pair_id for a in answers if a.expected is not None})
    if n >= ENOUGH and interval_of_share(differing, n)[0] > HARD:
        found.append(
            f"Annotators differ on {differing} of {n} gold pairs, which should be easy: look at their expected answers "
            "before anybody is held against them."
        )
    return found


def _differing(ballots: Mapping[str, Mapping[str, Answer]], pair_ids: Iterable[str]) -> tuple[int, int]:
    """On how many of the pairs with two votes or more not all agree, and how many these are."""
    shared = [ballots[key] for key in pair_ids if len(ballots.get(key, {})) > 1]
    return sum(len(set(ballot.values())) > 1 for ballot in shared), len(shared)


def _shared(ballots: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    tables = confusions(ballots)[1].values()
    few = sum(table.sum() < ENOUGH_SHARED for table in tables)
    if not few:
        return []
    return [f"{few} of {len(tables)} pairs of annotators share fewer than {ENOUGH_SHARED} pairs: their kappas are "
            "rough."]  # fmt: skip


def _unknown(answers: Sequence[Answered]) -> list[str]:
    columns = [
        (any(a.confidence is not None for a in answers), "confidence", "the confidence scale is not looked at"),
        (any(a.response_time_ms is not None for a in answers), "response time", "speed is not checked"),
        (any(a.expected is not None for a in answers), "gold answer", "nobody is held against the truth"),
        (any(a.duplicate for a in answers), "second showing", "nobody's consistency is checked"),
        (any(a.left is not None for a in answers), "side", "a preference for one side cannot be seen"),
    ]
    return [f"No answer has a {name}: {effect}." for known, name, effect in columns if not known]
