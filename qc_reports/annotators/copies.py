"""One annotator's answers are another's: two who agree far more than any two others do, stratum by stratum.

Two careful people differ on hard pairs, and even one person differs from themselves; so answers that are nearly all
alike are one person's. Whose they are tells the time: who copies answers later. Without times both are named.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from preference.records import Answer
from qc_reports.agreement.coefficients import confusions
from qc_reports.agreement.exact_tests import interval_of_share, sum_at_least
from qc_reports.annotators.flag import Flag, Tested
from qc_reports.answers import Answered

ENOUGH = 30
"""Shared pairs."""
CLOSER = 1 / 5
"""Two who copy differ at most so much less often than two others do. Like-minded honest people come to a third."""
LATER = 0.8
"""Share of the shared pairs that the copier answered later."""


class Couple(NamedTuple):
    shared: dict[str, int]
    """Stratum → pairs both answered."""
    alike: dict[str, int]
    """Stratum → of them, answered alike."""


def copy_tests(
    answers: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]], accused: Collection[str]
) -> list[Tested]:
    """One test of everybody who shares enough pairs with somebody: of their closest couple, its p-value multiplied by
    the number of others whom they could have copied.

    Args:
        accused: Whose answers say nothing of how often two careful people agree.
    """
    couples = _couples(answers, ballots)
    total = _sum(couple for names, couple in couples.items() if not set(names) & set(accused))
    found: dict[str, Tested] = {}
    for names, couple in couples.items():
        shared, alike = sum(couple.shared.values()), sum(couple.alike.values())
        if shared < ENOUGH:
            continue
        for name in names:
            found.setdefault(name, Tested(Flag(name, "copy", math.nan, math.nan, shared, "", p=1.0), False))
        counted = not set(names) & set(accused)
        expected = [(n, rate) for stratum, n in couple.shared.items()
                    if (rate := _rate(total, couple if counted else None, stratum)) is not None]  # fmt: skip
        usual = sum(n * rate for n, rate in expected) / max(sum(n for n, _ in expected), 1)
        if sum(n for n, _ in expected) < shared or shared - alike > CLOSER * (1 - usual) * shared:
            continue
        p = min(1.0, sum_at_least(alike, expected) * max(sum(name in other for other in couples) for name in names))
        for flag in _flags_of(names, alike, shared, usual, p, answers):
            if not found[flag.annotator_id].matters or p < found[flag.annotator_id].flag.p:
                found[flag.annotator_id] = Tested(flag, True)
    return list(found.values())


def _couples(answers: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]) -> dict[tuple[str, str], Couple]:
    stratum_of = {answer.pair_id: answer.stratum for answer in answers}
    parts: dict[str, dict[str, Mapping[str, Answer]]] = defaultdict(dict)
    for pair_id, ballot in ballots.items():
        if len(ballot) > 1:
            parts[stratum_of[pair_id]][pair_id] = ballot
    couples: dict[tuple[str, str], Couple] = {}
    for stratum, part in parts.items():
        names, tables = confusions(part)
        for (i, j), table in tables.items():
            couple = couples.setdefault((names[i], names[j]), Couple({}, {}))
            couple.shared[stratum], couple.alike[stratum] = int(table.sum()), int(np.trace(table))
    return couples


def _sum(couples: Iterable[Couple]) -> Couple:
    total = Couple(defaultdict(int), defaultdict(int))
    for couple in couples:
        for stratum, n in couple.shared.items():
            total.shared[stratum] += n
            total.alike[stratum] += couple.alike[stratum]
    return total


def _rate(total: Couple, own: Couple | None, stratum: str) -> float | None:
    """How often the other couples agree in a stratum, or, where they have too few pairs in it, overall; None where
    there is nobody to compare with. Counted as one disagreement more than seen, so that it is never certain."""
    strata = [stratum] if total.shared[stratum] - _own(own, [stratum])[0] >= ENOUGH else list(total.shared)
    shared = sum(total.shared[s] for s in strata) - _own(own, strata)[0]
    alike = sum(total.alike[s] for s in strata) - _own(own, strata)[1]
    return alike / (shared + 1) if shared >= ENOUGH else None


def _own(own: Couple | None, strata: Sequence[str]) -> tuple[int, int]:
    if own is None:
        return 0, 0
    return sum(own.shared.get(s, 0) for s in strata), sum(own.alike.get(s, 0) for s in strata)


def _flags_of(
    names: tuple[str, str], alike: int, shared: int, usual: float, p: float, answers: Sequence[Answered]
) -> list[Flag]:
    """One flag for who answers later; two where that cannot be told."""
    times: dict[str, dict[str, str]] = {name: {} for name in names}
    for a in answers:
        if a.annotator_id in times and not a.duplicate and a.created_at:
            times[a.annotator_id][a.pair_id] = a.created_at
    first, second = names
    both = times[first].keys() & times[second].keys()
    later = {first: sum(times[first][p] > times[second][p] for p in both),
             second: sum(times[second][p] > times[first][p] for p in both)}  # fmt: skip
    copiers = [name for name in names if both and later[name] >= LATER * len(both)] or list(names)
    found = []
    for name in copiers:
        other = second if name == first else first
        when = f" and later in {later[name]} of them" if len(copiers) == 1 else ""
        sentence = (
            f"{name} answered as {other} in {alike} of {shared} shared pairs{when}; two others agree in {usual:.0%}."
        )
        found.append(Flag(name, "copy", alike / shared, usual, shared, sentence,
                          *interval_of_share(alike, shared), minimum=ENOUGH, other=other, expected=usual,
                          p=p))  # fmt: skip
    return found
