"""What would a model score that always knows the better trajectory? Resolved labels and their votes go in.

A label is wrong where people were. How often they are, ρ among answers that name a side, shows in how often two of them
name opposite sides of one pair: d = 2ρ(1 − ρ). A label with k more votes for it than against it is then right with
probability 1 / (1 + (ρ / (1 − ρ))^k) (Bayes; both sides are equally likely beforehand), and the mean over the labels
that name a side is the ceiling. With people right in 0.8 and a third opinion where two differ it is 0.90.

ρ is one number in each stratum. Where difficulty varies within a stratum the true ceiling lies lower, so this is what
no model can pass, not what one can reach (`scripts/bench/ceiling.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from preference.records import LABELS, Preference
from qc_reports.answers import Answered

DRAWS = 1000
FEWEST = 30
"""Twos of sided answers in a stratum from which on it has an error rate of its own."""


def noise_ceiling(
    preferences: Sequence[Preference], answers: Iterable[Answered], rng: np.random.Generator
) -> dict[str, float]:
    """`value` with its 95 % bootstrap interval over pairs, `low` and `high`, and `pairs`, the labels that name a side.
    nan where no two people named a side of one pair, or no label names one.

    Args:
        preferences: The labels; whose votes count, `annotator_ids` says.
        answers: Everybody's.
    """
    counted = {p.pair_id: set(p.annotator_ids) for p in preferences}
    ballots: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        if not answer.duplicate and answer.annotator_id in counted.get(answer.pair_id, ()):
            ballots[answer.pair_id].append(answer)
    strata: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for preference in preferences:
        if own := ballots[preference.pair_id]:
            strata[own[0].stratum].append(_row(preference, own))
    few = [name for name, rows in strata.items() if sum(row[0] for row in rows) < FEWEST]
    rest = [row for name in few for row in strata.pop(name)]
    groups = [np.array(rows) for rows in (*strata.values(), rest) if rows]
    return _ceiling(groups, rng)


def _row(preference: Preference, own: Sequence[Answered]) -> tuple[int, int, int, int]:
    """Twos of planned sided answers, how many of them differ, whether the label names a side, its lead in votes."""
    sides = [LABELS[answer.preference] for answer in own if not answer.third]
    a, b = sides.count(1.0), sides.count(0.0)
    label = preference.preference
    if label not in (0.0, 1.0):
        return (a + b) * (a + b - 1) // 2, a * b, 0, 0
    said = [LABELS[answer.preference] for answer in own]
    return (a + b) * (a + b - 1) // 2, a * b, 1, said.count(label) - said.count(1.0 - label)


def _ceiling(groups: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """From each stratum's (P, 4) rows; pairs with the same row are drawn together."""
    whole = np.concatenate([np.zeros((0, 4), int), *groups])
    labels = int(whole[:, 2].sum())
    if not labels or not whole[:, 0].sum():
        return {"value": math.nan, "low": math.nan, "high": math.nan, "pairs": labels}
    right, named = np.zeros(1 + DRAWS), np.zeros(1 + DRAWS)
    for rows in groups:
        types, times = np.unique(rows, axis=0, return_counts=True)
        drawn = rng.multinomial(len(rows), times / len(rows), size=DRAWS)
        weights = np.concatenate([times[None], drawn]).astype(float)
        twos, differing, sided, lead = types.T.astype(float)
        odds = _odds(weights @ differing, weights @ twos)
        correct = 1.0 / (1.0 + odds[:, None] ** lead)
        right += (weights * sided * correct).sum(axis=1)
        named += weights @ sided
    shares = right / np.maximum(named, 1e-9)
    low, high = np.percentile(shares[1:], [2.5, 97.5])
    return {"value": float(shares[0]), "low": float(low), "high": float(high), "pairs": labels}


def _odds(differing: np.ndarray, twos: np.ndarray) -> np.ndarray:
    """ρ / (1 − ρ) from the share of twos that differ; 1, which is chance, from one half on or without any two."""
    share = np.where(twos > 0, differing / np.maximum(twos, 1.0), 0.5)
    error = 0.5 * (1.0 - np.sqrt(np.maximum(1.0 - 2.0 * share, 0.0)))
    return error / (1.0 - error)
