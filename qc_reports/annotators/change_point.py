"""A good annotator who turned bad half-way: a change-point in the answers' order in time.

Each answer is held against what is known: the gold answer, the annotator's own first answer to the same pair, or the
others' answers. What counts is how much better or worse than everybody in such a case, so that a run of hard pairs is
no change. A permutation test then says whether the fall is more than the order of luck.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preference.records import Answer
from qc_reports.agreement.exact_tests import interval_of_share, worst_drop
from qc_reports.annotators.flag import Flag
from qc_reports.answers import Answered

SHORTEST = 20
"""Checks on each side of a change."""
DROP = 0.2
"""Least fall, in share of right answers."""
TURNED_P = 0.005
SHUFFLES = 999


@dataclass(frozen=True)
class Check:
    """One answer held against something."""

    pair_id: str
    right: float
    """0 to 1; a share where several others answered."""
    case: str
    """`gold`, `repeat`, or the stratum of a pair that only the others tell about."""


def checks_of(
    own: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]], out: Collection[str]
) -> list[Check]:
    """One annotator's checks in their order in time; nobody is held against who is in `out`."""
    first = {a.pair_id: a.preference for a in own if not a.duplicate}
    timed = all(a.created_at for a in own)
    found = []
    for a in sorted(own, key=lambda a: a.created_at) if timed else own:
        if a.duplicate:
            if a.pair_id in first:
                found.append(Check(a.pair_id, float(a.preference == first[a.pair_id]), "repeat"))
        elif a.expected is not None:
            found.append(Check(a.pair_id, float(a.preference == a.expected), "gold"))
        else:
            others = [v for who, v in ballots[a.pair_id].items() if who != a.annotator_id and who not in out]
            if others:
                found.append(Check(a.pair_id, others.count(a.preference) / len(others), a.stratum))
    return found


def usual_rates(checks: Mapping[str, Sequence[Check]]) -> dict[str, float]:
    """Case → how often everybody is right in it."""
    values: dict[str, list[float]] = defaultdict(list)
    for own in checks.values():
        for check in own:
            values[check.case].append(check.right)
    return {case: float(np.mean(found)) for case, found in values.items()}


def turned_flag(name: str, own: Sequence[Check], usual: Mapping[str, float], rng: np.random.Generator) -> Flag | None:
    """Whether one annotator's answers became clearly worse, and where."""
    right = np.array([check.right for check in own])
    surplus = right - np.array([usual[check.case] for check in own])
    drop = worst_drop(surplus, rng, shortest=SHORTEST, least=DROP, shuffles=SHUFFLES)
    if drop.p >= TURNED_P:
        return None
    before, after, n = float(right[: drop.at].mean()), float(right[drop.at :].mean()), len(own) - drop.at
    since = own[drop.at].pair_id
    sentence = (
        f"{name} was right in {before:.0%} of the first {drop.at} checks and in {after:.0%} of the {n} from pair "
        f"{since} on."
    )
    interval = interval_of_share(round(after * n), n)
    return Flag(name, "turned", after, before, len(own), sentence, *interval, minimum=2 * SHORTEST, since=since)
