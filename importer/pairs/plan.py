"""What a batch asks of people, as a small table: loads, shared pairs, hours, reserve and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from importer.pairs.assignments import wanted_duplicates
from preference.records import Assignment

HOURLY = (40, 60)
"""Comparisons per annotator and hour that the protocol expects."""
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
    """Least and most time for each annotator, at 60 and at 40 comparisons an hour."""
    reserve: tuple[int, int]
    """Pairs to budget on top for losses: 15 to 20 %."""
    warnings: list[str]


def plan_table(assignments: Iterable[Assignment], *, duplicates: float = 0.0, duplicate_distance: int = 20) -> Plan:
    """Loads, shared pairs, hours and reserve of the given assignments, and warnings.

    Args:
        duplicates: The share that was wanted.
        duplicate_distance: The distance that was wanted.
    """
    import pandas as pd

    rows = [(a.pair_id, a.annotator_id, a.duplicate_of is not None) for a in assignments]
    frame = pd.DataFrame(rows, columns=["pair", "annotator", "again"])
    totals = frame.groupby("annotator")["again"].agg(["size", "sum"])
    loads, again = totals["size"].to_dict(), totals["sum"].astype(int).to_dict()
    answers = pd.crosstab(frame["annotator"], frame["pair"]).gt(0).astype(int)
    together = answers @ answers.T
    shared = {name: together[name].drop(name).to_dict() for name in loads}
    slow, quick = HOURLY
    warnings = _team_warnings(shared)
    for name, load in loads.items():
        wanted = wanted_duplicates(load - again[name], duplicates)
        if again[name] < wanted:
            warnings.append(
                f"{name} has {again[name]} duplicates instead of {wanted}: {load - again[name]} pairs "
                f"leave no room for more that come {duplicate_distance} tasks later."
            )
    count = answers.shape[1]
    hours = {name: (load / quick, load / slow) for name, load in loads.items()}
    reserve = (math.ceil(RESERVE[0] * count), math.ceil(RESERVE[1] * count))
    return Plan(count, loads, again, shared, hours, reserve, warnings)


def _team_warnings(shared: Mapping[str, Mapping[str, int]]) -> list[str]:
    warnings = []
    if len(shared) < FEW_ANNOTATORS:
        warnings.append(
            f"{len(shared)} annotators: with fewer than {FEW_ANNOTATORS} one person's habits cannot be told from the "
            "group's, and agreement does not say how other people would answer. 8 to 12 are recommended."
        )
    least = min((count for others in shared.values() for count in others.values()), default=FEW_SHARED)
    if least < FEW_SHARED:
        more = f" {math.ceil(FEW_SHARED / least)} batches like this one bring it to {FEW_SHARED}." if least else ""
        warnings.append(
            f"Two annotators share {least} pairs; agreement between two people is rough under {FEW_SHARED}.{more}"
        )
    return warnings
