"""What a reader must know before trusting the figures: answers go in, sentences come out.

A figure that cannot be computed is nan, and here is why. The order: what stands in the way of everything first.
"""

from __future__ import annotations

from collections.abc import Sequence

from qc_reports.answers import Answered, votes


def warnings(answers: Sequence[Answered]) -> list[str]:
    """One sentence for each thing that the answers cannot tell; empty when they tell all."""
    return [*_agreement(answers), *_unknown(answers)]


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


def _unknown(answers: Sequence[Answered]) -> list[str]:
    columns = [
        (any(a.confidence is not None for a in answers), "confidence", "the confidence scale is not looked at"),
        (any(a.response_time_ms is not None for a in answers), "response time", "speed is not checked"),
        (any(a.expected is not None for a in answers), "gold answer", "nobody is held against the truth"),
        (any(a.duplicate for a in answers), "second showing", "nobody's consistency is checked"),
        (any(a.left is not None for a in answers), "side", "a preference for one side cannot be seen"),
    ]
    return [f"No answer has a {name}: {effect}." for known, name, effect in columns if not known]
