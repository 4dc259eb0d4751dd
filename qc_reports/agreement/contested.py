"""Where annotators disagree: the rate by stratum and task type, and the pairs that divide them most.

Answers go in; a table for a heat map and a list of pairs come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from preference.records import Answer, Pair
from qc_reports.agreement.coefficients import SCALE, disagreement_rate
from qc_reports.answers import Answered, votes

STRATA = ("same", "adjacent", "distant")
"""From hard to easy: the further apart two trajectories are, the less people should differ."""
UNKNOWN = "unknown"
CONTESTED_SHOWN = 20
"""More contested pairs than a person reads in a sitting only make the page long."""


@dataclass(frozen=True)
class Cell:
    """How often annotators differ on one group of pairs; nan where no pair has two votes."""

    rate: float
    pairs: int


@dataclass(frozen=True)
class Disagreement:
    """Rates by task type (rows) and stratum (columns), with the rate of each whole row, column and batch."""

    strata: list[str]
    rows: list[tuple[str, list[Cell], Cell]]
    """(task type, its cell for each stratum, its overall cell)."""
    columns: list[Cell]
    """Empty where there are no totals, as in a table of pairings."""
    overall: Cell


@dataclass(frozen=True)
class Contested:
    """A pair on which not all agree."""

    pair_id: str
    trajectory_a_id: str
    trajectory_b_id: str
    stratum: str
    task_type: str
    expected: Answer | None
    distance: float
    """Mean distance of two votes on the scale A, equal, B: 2 = all two voters say the opposite."""
    confidence: float
    """Mean, 1-5; nan where nobody gave one."""
    votes: list[Answered]


def disagreement_table(answers: Sequence[Answered]) -> Disagreement:
    """Disagreement rate of every stratum and task type; what has no stratum or task type is called UNKNOWN."""
    ballots = votes(answers)
    place = {answer.pair_id: (answer.task_type or UNKNOWN, answer.stratum or UNKNOWN) for answer in answers}
    found = {stratum for _, stratum in place.values()}
    strata = [*(s for s in STRATA if s in found), *sorted(found.difference(STRATA))]
    tasks = sorted({task for task, _ in place.values()})

    def cell(task: str | None, stratum: str | None) -> Cell:
        ids: Iterable[str] = (
            pair_id for pair_id, (t, s) in place.items() if task in (None, t) and stratum in (None, s)
        )
        return Cell(*disagreement_rate(ballots, ids))

    rows = [(task, [cell(task, stratum) for stratum in strata], cell(task, None)) for task in tasks]
    return Disagreement(strata, rows, [cell(None, stratum) for stratum in strata], cell(None, None))


def contested_pairs(answers: Sequence[Answered], pairs: Iterable[Pair] = ()) -> list[Contested]:
    """Every pair with differing votes, the widest apart first and, of these, the surest first."""
    known = {pair.pair_id: pair for pair in pairs}
    ballots: dict[str, list[Answered]] = {}
    for answer in answers:
        if not answer.duplicate:
            ballots.setdefault(answer.pair_id, []).append(answer)
    divided = [
        _contested(ballot, known.get(pair_id))
        for pair_id, ballot in ballots.items()
        if len({answer.preference for answer in ballot}) > 1
    ]
    return sorted(divided, key=lambda c: (-c.distance, -_or_zero(c.confidence), c.pair_id))


def _contested(ballot: Sequence[Answered], pair: Pair | None) -> Contested:
    places = [SCALE.index(answer.preference) for answer in ballot]
    distances = [abs(first - second) for first, second in combinations(places, 2)]
    sure = [answer.confidence for answer in ballot if answer.confidence is not None]
    return Contested(
        pair_id=ballot[0].pair_id,
        trajectory_a_id=pair.trajectory_a_id if pair else "",
        trajectory_b_id=pair.trajectory_b_id if pair else "",
        stratum=ballot[0].stratum,
        task_type=ballot[0].task_type,
        expected=ballot[0].expected,
        distance=sum(distances) / len(distances),
        confidence=sum(sure) / len(sure) if sure else math.nan,
        votes=sorted(ballot, key=lambda answer: (SCALE.index(answer.preference), answer.annotator_id)),
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
