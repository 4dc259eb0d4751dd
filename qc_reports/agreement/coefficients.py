"""How far annotators agree: Krippendorff's alpha and Cohen's kappa, with bootstrap intervals.

Votes go in as pair → annotator → answer (`answers.votes`), on the scale A < equal < B. Alpha is that of the
`krippendorff` package; its bootstrap is ours, since a thousand draws must not cost a thousand times as much.

References: Krippendorff 2011, Computing Krippendorff's alpha-reliability · Cohen 1960.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np

from preference.records import Answer

SCALE: tuple[Answer, ...] = ("A", "equal", "B")
"""The ordinal scale."""
ENOUGH_SHARED = 100
"""Pairs that two annotators share, from which on the protocol calls their kappa meaningful."""
PLACE: dict[Answer, int] = {answer: place for place, answer in enumerate(SCALE)}
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

    What a pair adds to alpha depends only on how many said A, equal and B. So pairs are counted by that, and a
    bootstrap draw is a draw of these counts: exact, and a thousand draws cost the same for 100 pairs and for 100,000.
    nan where no pair has two votes, or where all votes are alike.
    """
    counts = _vote_counts(votes)
    if not len(counts):
        return NOTHING
    value = math.nan
    if (counts.sum(axis=0) > 0).sum() > 1:
        value = krippendorff.alpha(value_counts=counts, value_domain=SCALE, level_of_measurement="ordinal")
    if not draws:
        return Interval(float(value), math.nan, math.nan)
    return Interval(float(value), *_percentiles(resampled_alphas(counts, draws, rng)))


def resampled_alphas(
    counts: np.ndarray, draws: int, rng: np.random.Generator, *, pairs: int | None = None
) -> np.ndarray:
    """(draws,) alphas of pairs drawn with replacement.

    Args:
        counts: (P, 3) how many gave each answer.
        pairs: How many are drawn; default: P.
    """
    types, times = np.unique(counts, axis=0, return_counts=True)
    weights = rng.multinomial(pairs or times.sum(), times / times.sum(), size=draws)
    return _alpha(np.tensordot(weights, _coincidences(types), axes=1))


def _vote_counts(votes: Votes) -> np.ndarray:
    """(P, 3) int: how many gave each answer of SCALE, for the pairs with two votes or more."""
    rows = []
    for ballots in votes.values():
        if len(ballots) > 1:
            row = [0, 0, 0]
            for vote in ballots.values():
                row[PLACE[vote]] += 1
            rows.append(row)
    return np.array(rows, dtype=int).reshape(-1, len(SCALE))


def _coincidences(counts: np.ndarray) -> np.ndarray:
    """(P, 3) → (P, 3, 3) float64: a pair's coincidences, every ordered pair of votes weighted 1 / (m - 1)."""
    own = np.eye(len(SCALE)) * counts[:, None, :]
    return (counts[:, :, None] * counts[:, None, :] - own) / (counts.sum(axis=1) - 1)[:, None, None]


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


def cohen_kappa_interval(
    first: Sequence[Answer], second: Sequence[Answer], *, draws: int, rng: np.random.Generator
) -> Interval:
    """Cohen's unweighted kappa of two annotators' answers to the same items, in the same order, with a bootstrap over
    items: a draw of items is a draw from the confusion matrix's cells.

    1.0 where both always gave one and the same answer, which leaves nothing to correct for; nan without items.
    """
    table = confusion(first, second)
    items = int(table.sum())
    if not items:
        return NOTHING
    value = float(kappas_of_tables(table[None])[0])
    if not draws:
        return Interval(value, math.nan, math.nan)
    samples = rng.multinomial(items, table.ravel() / items, size=draws).reshape(draws, *table.shape)
    return Interval(value, *_percentiles(kappas_of_tables(samples)))


def confusion(first: Sequence[Answer], second: Sequence[Answer]) -> np.ndarray:
    """(3, 3) counts over SCALE: rows what the first said, columns what the second said of the same item."""
    table = np.zeros((len(SCALE), len(SCALE)))
    for a, b in zip(first, second, strict=True):
        table[PLACE[a], PLACE[b]] += 1
    return table


def kappas_of_tables(tables: np.ndarray) -> np.ndarray:
    """(N,) kappa of (N, 3, 3) confusion matrices."""
    total = tables.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.trace(tables, axis1=1, axis2=2) / total
        expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
        kappa = (observed - expected) / (1 - expected)
    return np.where(expected == 1, 1.0, kappa)


def kappa_standard_errors(tables: np.ndarray) -> np.ndarray:
    """(N,) standard error of kappa of (N, 3, 3) confusion matrices, for large samples (Fleiss, Cohen & Everitt 1969,
    equation 13); 0 where all agree."""
    total = tables.sum(axis=(1, 2))
    share = tables / total[:, None, None]
    rows, columns = share.sum(axis=2), share.sum(axis=1)
    observed, expected = np.trace(share, axis1=1, axis2=2), (rows * columns).sum(axis=1)
    left, diagonal = 1.0 - expected, np.diagonal(share, axis1=1, axis2=2)
    agreeing = (diagonal * (left[:, None] - (rows + columns) * (1.0 - observed)[:, None]) ** 2).sum(axis=1)
    squares = share * (columns[:, :, None] + rows[:, None, :]) ** 2
    differing = (1.0 - observed) ** 2 * (squares.sum(axis=(1, 2)) - np.trace(squares, axis1=1, axis2=2))
    both = (observed * expected - 2.0 * expected + observed) ** 2
    variance = np.maximum(agreeing + differing - both, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0, np.sqrt(variance / total) / left**2, 0.0)


def pairwise_kappas(
    names: Sequence[str], tables: Mapping[tuple[int, int], np.ndarray]
) -> list[tuple[str, str, int, float]]:
    """(annotator, annotator, shared pairs, Cohen's kappa) for every two who share a pair, from their `confusions`."""
    rows = []
    for (i, j), table in tables.items():
        rows.append((names[i], names[j], int(table.sum()), float(kappas_of_tables(table[None])[0])))
    return rows


def confusions(votes: Votes) -> tuple[list[str], dict[tuple[int, int], np.ndarray]]:
    """The annotators in order, and for every two who share a pair the (3, 3) counts of what one and the other said."""
    from scipy.sparse import csr_array

    names = sorted({name for ballots in votes.values() for name in ballots})
    place = {name: i for i, name in enumerate(names)}
    cells = [(row, place[name], PLACE[vote])
             for row, ballots in enumerate(votes.values()) for name, vote in ballots.items()]  # fmt: skip
    table = np.array(cells, dtype=int).reshape(-1, 3)
    shape = (len(votes), len(names))
    said = []
    for k in range(len(SCALE)):
        rows, columns = table[table[:, 2] == k, :2].T
        said.append(csr_array((np.ones(len(rows)), (rows, columns)), shape=shape))
    counts = np.array([[(first.T @ second).toarray() for second in said] for first in said])
    shared = counts.sum(axis=(0, 1))
    return names, {(i, j): counts[:, :, i, j] for i, j in combinations(range(len(names)), 2) if shared[i, j]}


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    valid = samples[np.isfinite(samples)]
    if not len(valid):
        return math.nan, math.nan
    low, high = np.percentile(valid, [2.5, 97.5])
    return float(low), float(high)
