"""Pairs on which the most reliable people say one thing and the rest something else: often a gap in the guidelines.

Answers and reliabilities go in, rows come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from qc_reports.answers import Answered, planned, votes

BEST = 1 / 3
"""Of the people, so many are the most reliable; two at least."""
FEWEST = 4
"""People from which on there is a rest to speak of."""
SHOWN = 20


def best_against_rest(answers: Sequence[Answered], reliability: Mapping[str, float]) -> list[dict[str, Any]]:
    """`pair_id`, `stratum`, `best` and `rest` (annotator → answer), those with most votes first, SHOWN at most.

    Args:
        reliability: Annotator → share of careful answers (`annotators.flags.Examination`).
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
    return rows[:SHOWN]
