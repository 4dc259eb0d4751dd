"""What a batch asks of people, as a small table: loads, shared pairs, hours, reserve and warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from importer.pairs.assignments import spacing, wanted_duplicates
from preference.records import Assignment

HOURLY = (40, 60)
"""Comparisons per annotator and hour that the protocol expects."""
WATCHES, DECIDES_S = (1, 2), (10.0, 30.0)
"""How often a pair is watched and how long it is thought about, at least and at most: long clips slow the pace down."""
RESERVE = (0.15, 0.20)
"""Share of pairs to budget on top, for those that are skipped, discarded or flagged."""
FEW_ANNOTATORS, FEW_SHARED = 5, 100


@dataclass(frozen=True)
class Plan:
    """What a batch asks of people, before anybody is asked."""

    pairs: int
    loads: dict[str, int]
    """Tasks of each annotator, duplicates included."""
    duplicates: dict[str, int]
    """How many of them are duplicates."""
    shared: dict[str, dict[str, int]]
    """Pairs that any two annotators both answer."""
    hours: dict[str, tuple[float, float]]
    """Least and most time for each annotator: 60 and 40 comparisons an hour, fewer where the clips are long."""
    reserve: tuple[int, int]
    """Pairs to budget on top for losses: 15 to 20 %."""
    warnings: list[str]


def plan_table(
    assignments: Iterable[Assignment],
    *,
    clip_s: Mapping[str, float] | None = None,
    duplicates: float = 0.0,
    duplicate_distance: int = 20,
) -> Plan:
    """Loads, shared pairs, hours and reserve of the given assignments, and warnings.

    Args:
        clip_s: Pair → seconds of the longer of its clips; default: short ones.
        duplicates: The share that was wanted.
        duplicate_distance: The distance that was wanted.
    """
    answered_by: dict[str, set[str]] = {}
    loads, again = Counter[str](), Counter[str]()
    spent: dict[str, tuple[float, float]] = {}
    for assignment in assignments:
        times = seconds_of((clip_s or {}).get(assignment.pair_id, 0.0))
        least, most = spent.get(assignment.annotator_id, (0.0, 0.0))
        spent[assignment.annotator_id] = least + times[0], most + times[1]
        loads[assignment.annotator_id] += 1
        again[assignment.annotator_id] += assignment.duplicate_of is not None
        answered_by.setdefault(assignment.pair_id, set()).add(assignment.annotator_id)
    names = sorted(loads)
    together = Counter(couple for team in answered_by.values() for couple in combinations(sorted(team), 2))
    shared = {a: {b: together[min(a, b), max(a, b)] for b in names if b != a} for a in names}
    warnings = _team_warnings(names, together)
    for name in names:
        load = loads[name] - again[name]
        wanted = wanted_duplicates(load, duplicates)
        if again[name] < wanted:
            warnings.append(
                f"{name} has {again[name]} duplicates instead of {wanted}: {load} pairs leave no room for more that "
                f"come {spacing(load, duplicate_distance)} tasks later."
            )
    return Plan(
        len(answered_by),
        {name: loads[name] for name in names},
        {name: again[name] for name in names},
        shared,
        {name: (spent[name][0] / 3600, spent[name][1] / 3600) for name in names},
        (math.ceil(RESERVE[0] * len(answered_by)), math.ceil(RESERVE[1] * len(answered_by))),
        warnings,
    )


def seconds_of(clip_s: float) -> tuple[float, float]:
    """Least and most seconds for a pair whose longer clip lasts so long: the protocol's pace, or longer clips' own."""
    (few, many), (quick, slow) = WATCHES, DECIDES_S
    return max(3600 / HOURLY[1], few * clip_s + quick), max(3600 / HOURLY[0], many * clip_s + slow)


def _team_warnings(names: Sequence[str], together: Mapping[tuple[str, str], int]) -> list[str]:
    warnings = []
    if len(names) < FEW_ANNOTATORS:
        warnings.append(
            f"{len(names)} annotators: with fewer than {FEW_ANNOTATORS} one person's habits cannot be told from the "
            "group's, and agreement does not say how other people would answer. 8 to 12 are recommended."
        )
    least = min((together.get(couple, 0) for couple in combinations(names, 2)), default=FEW_SHARED)
    if least < FEW_SHARED:
        warnings.append(
            f"Two annotators share {least} pairs; agreement between two people is rough under {FEW_SHARED}."
            + (f" {math.ceil(FEW_SHARED / least)} batches like this one bring it to {FEW_SHARED}." if least else "")
        )
    return warnings
