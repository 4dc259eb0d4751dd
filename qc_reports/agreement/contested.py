"""Where annotators disagree: the rate by stratum and task type, the pairs that divide them most, and those on which the
most reliable people disagree with the rest.

Answers go in; tables for heat maps and lists of pairs come out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from preference.formats import known
from preference.records import Answer, Pair
from qc_reports.agreement.coefficients import SCALE
from qc_reports.answers import Answered, planned, votes

STRATA = ("same", "adjacent", "distant")
"""From hard to easy: the further apart two trajectories are, the less people should differ."""
UNKNOWN = "unknown"
ALL = "all"
CONTESTED_SHOWN = 20
"""More contested pairs than a person reads in a sitting only make the page long."""
BEST = 1 / 3
"""Of the people, so many are the most reliable; two at least."""
FEWEST = 4
"""People from which on there is a rest to speak of."""


@dataclass(frozen=True)
class Disagreement:
    """How often annotators differ, by two properties of a pair; both tables have the same rows and columns."""

    rate: pd.DataFrame
    """Share of the pairs on which not all agree; nan where no pair has two votes."""
    pairs: pd.DataFrame
    """Pairs with two votes or more."""


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
    """By task type and stratum, each with ALL; what has no stratum or task type is called UNKNOWN."""
    place = {answer.pair_id: (answer.task_type or UNKNOWN, answer.stratum or UNKNOWN) for answer in answers}
    found = {stratum for _, stratum in place.values()}
    strata = [*(s for s in STRATA if s in found), *sorted(found.difference(STRATA)), ALL]
    tasks = [*sorted({task for task, _ in place.values()}), ALL]
    shared = [(*place[key], len(set(said.values())) > 1) for key, said in votes(answers).items() if len(said) > 1]
    table = pd.DataFrame(shared, columns=["task_type", "stratum", "differ"])
    totals = ({}, {"task_type": ALL}, {"stratum": ALL}, {"task_type": ALL, "stratum": ALL})
    groups = pd.concat(table.assign(**total) for total in totals).groupby(["task_type", "stratum"])["differ"]
    rate, pairs = (groups.agg(way).unstack().reindex(index=tasks, columns=strata) for way in ("mean", "size"))
    return Disagreement(rate.astype(float), pairs.fillna(0).astype(int))


def pairing_table(parts: Iterable[Mapping[str, Any]], prefix: str = "") -> Disagreement | None:
    """By the two trajectories of a pair: parts called `x / y` (see `agreement.parts`), each pairing once; None without
    any.

    Args:
        prefix: What stands before each name in the table.
    """
    found = [(*part["name"].split(" / "), part["disagreement"], part["pairs"]) for part in parts if part["pairs"]]
    table = pd.DataFrame([row for row in found if len(row) == 4], columns=["first", "second", "rate", "pairs"])
    if table.empty:
        return None
    names = sorted({*table["first"], *table["second"]})
    rate, pairs = (
        table.pivot(index="first", columns="second", values=values)
        .reindex(index=names, columns=names)
        .rename(index=prefix.__add__, columns=prefix.__add__)
        for values in ("rate", "pairs")
    )
    return Disagreement(rate, pairs.fillna(0).astype(int))


def contested_pairs(answers: Sequence[Answered], pairs: Iterable[Pair] = ()) -> list[Contested]:
    """Every pair with differing votes, the widest apart first and, of these, the surest first."""
    planned = {pair.pair_id: pair for pair in pairs}
    ballots: dict[str, list[Answered]] = {}
    for answer in answers:
        if not answer.duplicate:
            ballots.setdefault(answer.pair_id, []).append(answer)
    divided = [
        _contested(ballot, planned.get(pair_id))
        for pair_id, ballot in ballots.items()
        if len({answer.preference for answer in ballot}) > 1
    ]
    return sorted(divided, key=lambda c: (-c.distance, -(c.confidence if known(c.confidence) else 0), c.pair_id))


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


def best_against_rest(answers: Sequence[Answered], reliability: Mapping[str, float]) -> list[dict[str, Any]]:
    """Pairs on which the most reliable people say one thing and the rest something else: often a gap in the guidelines.

    Args:
        reliability: Annotator → share of careful answers (`annotators.examine.Examination`).

    Returns:
        `pair_id`, `stratum`, `best` and `rest` (annotator → answer), those with most votes first, CONTESTED_SHOWN at
        most.
    """
    if len(reliability) < FEWEST:
        return []
    ranked = sorted(reliability, key=lambda name: (-reliability[name], name))
    best = set(ranked[: max(2, round(BEST * len(ranked)))])
    stratum = {a.pair_id: a.stratum for a in answers}
    rows = []
    for pair_id, ballot in votes(planned(answers)).items():
        first = {name: word for name, word in sorted(ballot.items()) if name in best}
        rest = {name: word for name, word in sorted(ballot.items()) if name not in best}
        if len(set(first.values())) == 1 and rest and Counter(rest.values())[next(iter(first.values()))] == 0:
            rows.append({"pair_id": pair_id, "stratum": stratum[pair_id], "best": first, "rest": rest})
    rows.sort(key=lambda row: (-min(len(row["best"]), len(row["rest"])), -len(row["rest"]), row["pair_id"]))
    return rows[:CONTESTED_SHOWN]
