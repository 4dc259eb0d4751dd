"""Other ways to a label beside the majority vote: who is reliable counts, and where that differs from the vote.

The vote decides what has to be asked and waited for; the methods change the labels of what was voted on to the end.

| method | a pair's label |
| --- | --- |
| vote | what more than half, or the largest group, said |
| dawid_skene | the answer that most careful people would give, by everybody's reliability and the pairs' difficulty |
| | (`qc_reports.agreement.pair_model`); ambiguous where none has half the probability |
| weighted_bt | what the trajectories' scores say, fitted to all votes by reliability; as many ties as in the votes |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from preference.config import ResolutionMethod
from preference.records import LABELS, Pair, Preference
from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.pair_model import PairModel, fit_pairs
from qc_reports.agreement.vote_table import table_of
from qc_reports.answers import Answered, votes
from qc_reports.resolution.exclusions import word_of
from qc_reports.resolution.weighted_bradley_terry import outcomes, reliabilities, weighted_bt

Method = Literal["dawid_skene", "weighted_bt"]
METHODS: tuple[Method, ...] = ("dawid_skene", "weighted_bt")
VOTED = frozenset({"unanimous", "majority", "single", "ambiguous"})
"""Reasons of pairs on which the voting is over."""
SHOWN = 50


@dataclass(frozen=True)
class Difference:
    """Where one method differs from the vote."""

    method: Method
    pairs: int
    """Pairs on which the voting is over."""
    differ: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The surest first, SHOWN at most: `pair_id`, `votes` (annotator → answer), `vote` and `label` (A, B, equal or
    ambiguous), `probability` of the label."""


def apply(
    resolution: ResolutionMethod,
    pairs: Sequence[Pair],
    answers: Sequence[Answered],
    preferences: Sequence[Preference],
    *,
    fixed: Collection[str] = (),
) -> list[Preference]:
    """The preferences as the configured method has them; the vote's stay as they are.

    Args:
        answers: Those that count.
        preferences: What the vote made of them.
        fixed: Pairs whose label stays the vote's; their answers tell about people all the same.
    """
    if resolution == "vote":
        return list(preferences)
    found = labels(resolution, pairs, answers, preferences)
    changed = found.keys() - set(fixed)
    return [_relabelled(p, found[p.pair_id][0], resolution) if p.pair_id in changed else p for p in preferences]


def _relabelled(preference: Preference, word: str, method: Method) -> Preference:
    if word == word_of(preference):
        return preference
    if word == "ambiguous":
        return replace(preference, preference=None, reason="ambiguous")
    return replace(preference, preference=LABELS[word], reason=method)


def labels(
    method: Method,
    pairs: Sequence[Pair],
    answers: Sequence[Answered],
    preferences: Sequence[Preference],
    start: PairModel | None = None,
) -> dict[str, tuple[str, float]]:
    """Pair → its label by the method (A, B, equal or ambiguous) and how probable that answer is; where the voting is
    over only. `start` as in `fit_pairs`."""
    over = {p.pair_id for p in preferences if p.reason in VOTED}
    ballots = votes([answer for answer in answers if answer.pair_id in over])
    table = table_of(ballots)
    if not table.pair_ids:
        return {}
    if method == "dawid_skene":
        stratum = {pair.pair_id: str(pair.stratum) for pair in pairs}
        chances = fit_pairs(table, [stratum.get(pair_id, "") for pair_id in table.pair_ids], start=start).best
        best = np.argmax(chances, axis=1)
    else:
        weights = reliabilities(ballots)
        chances = weighted_bt(table, pairs, weights)
        best = outcomes(chances, table, weights)
    return {
        pair_id: ("ambiguous" if method == "dawid_skene" and row[k] < 0.5 else SCALE[k], float(row[k]))
        for pair_id, row, k in zip(table.pair_ids, chances, best, strict=True)
    }


def differences(
    pairs: Sequence[Pair],
    answers: Sequence[Answered],
    preferences: Sequence[Preference],
    start: PairModel | None = None,
) -> list[Difference]:
    """Each method beside the vote; `start` as in `fit_pairs`."""
    ballots = votes(answers)
    found = []
    for method in METHODS:
        by_method = labels(method, pairs, answers, preferences, start)
        rows = [
            {"pair_id": p.pair_id, "votes": dict(sorted(ballots[p.pair_id].items())), "vote": word_of(p),
             "label": by_method[p.pair_id][0], "probability": by_method[p.pair_id][1]}
            for p in preferences
            if p.pair_id in by_method and by_method[p.pair_id][0] != word_of(p)
        ]  # fmt: skip
        rows.sort(key=lambda row: (-row["probability"], row["pair_id"]))
        found.append(Difference(method, len(by_method), len(rows), rows[:SHOWN]))
    return found
