"""How far annotators agree: Krippendorff's alpha, Cohen's and Fleiss' kappa, each with what it needs and no more.

Votes go in as pair → annotator → answer (`answers.votes`). The order of the scale is A < equal < B.

References: Krippendorff 2011, Computing Krippendorff's alpha-reliability · Cohen 1960 · Fleiss 1971.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from preference.records import Answer

SCALE: tuple[Answer, ...] = ("A", "equal", "B")
"""The ordinal scale."""
Votes = Mapping[str, Mapping[str, Answer]]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval; nan where it cannot be computed."""

    value: float
    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def krippendorff_alpha(votes: Votes, *, draws: int, rng: np.random.Generator) -> Interval:
    """Ordinal alpha over all pairs with two votes or more, with a bootstrap over pairs.

    Each pair contributes a 3x3 coincidence matrix, so a bootstrap draw is a weighted sum of them and a thousand draws
    cost one matrix product. nan where no pair has two votes, or where all votes are alike.
    """
    units = _coincidences(votes)
    if not len(units):
        return NOTHING
    value = float(_alpha(units.sum(axis=0)[None])[0])
    if not draws:
        return Interval(value, math.nan, math.nan)
    weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=draws)
    samples = _alpha(np.tensordot(weights, units, axes=1))
    return Interval(value, *_percentiles(samples))


def _coincidences(votes: Votes) -> np.ndarray:
    """(P, 3, 3) float64: each pair's coincidences, every ordered pair of votes weighted 1 / (m - 1)."""
    matrices = []
    for ballots in votes.values():
        if len(ballots) < 2:
            continue
        counts = np.array([sum(vote == word for vote in ballots.values()) for word in SCALE], float)
        matrices.append((np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1))
    return np.array(matrices).reshape(-1, len(SCALE), len(SCALE))


def _alpha(coincidences: np.ndarray) -> np.ndarray:
    """(N,) alpha of (N, 3, 3) summed coincidences, with Krippendorff's ordinal distance, which depends on the
    marginals: the squared number of values between two ranks, ends counted half."""
    marginals = coincidences.sum(axis=2)
    below = np.cumsum(marginals, axis=1)
    middle = below - marginals / 2
    distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    total = marginals.sum(axis=1)
    observed = (coincidences * distance).sum(axis=(1, 2))
    expected = (marginals[:, :, None] * marginals[:, None, :] * distance).sum(axis=(1, 2)) / (total - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def cohen_kappa(first: Sequence[Answer], second: Sequence[Answer]) -> float:
    """Cohen's unweighted kappa of two annotators' answers to the same items, in the same order.

    1.0 where both always gave one and the same answer, which leaves nothing to correct for; nan without items.
    """
    return float(_kappa(_confusion(first, second)[None])[0])


def cohen_kappa_interval(
    first: Sequence[Answer], second: Sequence[Answer], *, draws: int, rng: np.random.Generator
) -> Interval:
    """Cohen's kappa with a bootstrap over items: a draw of items is a draw from the confusion matrix's cells."""
    table = _confusion(first, second)
    items = int(table.sum())
    if not items:
        return NOTHING
    value = float(_kappa(table[None])[0])
    if not draws:
        return Interval(value, math.nan, math.nan)
    samples = rng.multinomial(items, table.ravel() / items, size=draws).reshape(draws, *table.shape)
    return Interval(value, *_percentiles(_kappa(samples)))


def _confusion(first: Sequence[Answer], second: Sequence[Answer]) -> np.ndarray:
    table = np.zeros((len(SCALE), len(SCALE)))
    for a, b in zip(first, second, strict=True):
        table[SCALE.index(a), SCALE.index(b)] += 1
    return table


def _kappa(tables: np.ndarray) -> np.ndarray:
    """(N,) kappa of (N, 3, 3) confusion matrices."""
    total = tables.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.trace(tables, axis1=1, axis2=2) / total
        expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
        kappa = (observed - expected) / (1 - expected)
    return np.where(expected == 1, 1.0, kappa)


def fleiss_kappa(votes: Votes) -> float:
    """Fleiss' kappa over the pairs that have the most common number of votes; nan without any."""
    sizes = [len(ballots) for ballots in votes.values()]
    if not sizes or max(sizes) < 2:
        return math.nan
    size = max(set(sizes), key=sizes.count)
    counts = np.array(
        [[sum(v == word for v in b.values()) for word in SCALE] for b in votes.values() if len(b) == size], float
    )
    if size < 2:
        return math.nan
    agreement = ((counts**2).sum(axis=1) - size) / (size * (size - 1))
    shares = counts.sum(axis=0) / counts.sum()
    expected = (shares**2).sum()
    return float((agreement.mean() - expected) / (1 - expected)) if expected < 1 else 1.0


def pairwise_kappas(votes: Votes) -> list[tuple[str, str, int, float]]:
    """(annotator, annotator, shared pairs, Cohen's kappa) for every two who share a pair."""
    names = sorted({name for ballots in votes.values() for name in ballots})
    rows = []
    for first, second in combinations(names, 2):
        shared = [ballots for ballots in votes.values() if first in ballots and second in ballots]
        if shared:
            kappa = cohen_kappa([ballots[first] for ballots in shared], [ballots[second] for ballots in shared])
            rows.append((first, second, len(shared), kappa))
    return rows


def disagreement_rate(votes: Votes, pair_ids: Iterable[str]) -> tuple[float, int]:
    """Share of the pairs with two votes or more on which not all agree, and their number; nan when there is none."""
    ballots = [votes[pair_id] for pair_id in pair_ids if len(votes.get(pair_id, {})) > 1]
    if not ballots:
        return math.nan, 0
    return sum(len(set(b.values())) > 1 for b in ballots) / len(ballots), len(ballots)


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    valid = samples[np.isfinite(samples)]
    if not len(valid):
        return math.nan, math.nan
    low, high = np.percentile(valid, [2.5, 97.5])
    return float(low), float(high)
