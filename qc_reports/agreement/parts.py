"""Where annotators agree and where not: alpha and the disagreement rate of each part of the answers.

Answers go in, one `Part` for each group comes out: by task type, stratum, both, tier pairing, quartile pairing, batch,
and over time. A part with few pairs has a wide interval, and says so by it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from preference.records import Answer
from qc_reports.agreement.coefficients import krippendorff_alpha
from qc_reports.agreement.exact_tests import interval_of_share
from qc_reports.answers import Answered, votes

WAYS: dict[str, Callable[[Answered], str]] = {
    "task_type": lambda a: a.task_type,
    "stratum": lambda a: a.stratum,
    "tiers": lambda a: a.tiers,
    "quartiles": lambda a: a.quartiles,
    "task_type_and_stratum": lambda a: f"{a.task_type}: {a.stratum}" if a.task_type and a.stratum else "",
    "task_type_and_tiers": lambda a: f"{a.task_type}: {a.tiers}" if a.tiers else "",
    "batch": lambda a: a.batch_id,
}
"""Ways to divide the pairs; a pair for which the name is empty is in no part."""
WINDOWS, LEAST = 10, 30
"""Over time: at most so many windows, each of at least so many pairs."""


@dataclass(frozen=True)
class Part:
    """One group of pairs; nan where too little is known."""

    name: str
    alpha: dict[str, float]
    """Krippendorff's, ordinal: value, low, high."""
    disagreement: float
    """Share of the pairs with two votes or more on which not all agree."""
    low: float
    high: float
    """95 % interval of `disagreement` (Clopper and Pearson)."""
    pairs: int
    """With two votes or more."""


def parts(answers: Sequence[Answered], *, draws: int, rng: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    """Way → its parts as plain dictionaries, in the names' order; the way `time` in the order of time."""
    ballots = votes(answers)
    found: dict[str, list[dict[str, Any]]] = {}
    for way, name_of in WAYS.items():
        groups: dict[str, dict[str, Mapping[str, Answer]]] = defaultdict(dict)
        for a in answers:
            if name := name_of(a):
                groups[name][a.pair_id] = ballots.get(a.pair_id, {})
        found[way] = [asdict(_part(name, group, draws, rng)) for name, group in sorted(groups.items())]
    found["time"] = [asdict(_part(name, group, draws, rng)) for name, group in _windows(answers, ballots)]
    return found


def batch_parts(
    answers: Sequence[Answered], order: Sequence[str], *, draws: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Each batch in the given order, and, where there are several, `all batches`."""
    groups: dict[str, list[Answered]] = defaultdict(list)
    for a in answers:
        groups[a.batch_id].append(a)
    rows = [(name, votes(groups[name])) for name in order if name in groups]
    if len(rows) > 1:
        rows.append(("all batches", votes(answers)))
    return [asdict(_part(name, ballots, draws, rng)) for name, ballots in rows]


def _part(name: str, ballots: Mapping[str, Mapping[str, Answer]], draws: int, rng: np.random.Generator) -> Part:
    shared = [ballot for ballot in ballots.values() if len(ballot) > 1]
    differing = sum(len(set(ballot.values())) > 1 for ballot in shared)
    alpha = asdict(krippendorff_alpha(ballots, draws=draws, rng=rng))
    rate = differing / len(shared) if shared else math.nan
    return Part(name, alpha, rate, *interval_of_share(differing, len(shared)), len(shared))


def _windows(
    answers: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]
) -> list[tuple[str, dict[str, Mapping[str, Answer]]]]:
    """Pairs with two votes or more in the order in which they were complete, in windows of equal size; a window is
    called after the time at which its last pair was complete. Nothing where times are unknown."""
    complete: dict[str, str] = {}
    for a in answers:
        if not a.duplicate and len(ballots[a.pair_id]) > 1:
            if not a.created_at:
                return []
            complete[a.pair_id] = max(complete.get(a.pair_id, ""), a.created_at)
    order = sorted(complete, key=lambda pair_id: (complete[pair_id], pair_id))
    count = min(WINDOWS, len(order) // LEAST)
    windows = np.array_split(np.arange(len(order)), count) if count else []
    return [(complete[order[w[-1]]], {order[i]: ballots[order[i]] for i in w}) for w in windows]
