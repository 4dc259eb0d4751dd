"""What chance explains: exact intervals and tests for counts, and a test for a change half-way.

References: Clopper & Pearson 1934 · Student 1908 · a median's interval by order statistics, Thompson 1936 · the
change-point scan is a standardized CUSUM (Page 1954) with its null distribution by permutation, so it is exact for any
mixture of easy and hard answers given in random order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np


@lru_cache(maxsize=100_000)
def interval_of_share(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share; nan without answers."""
    from scipy.stats import binomtest

    if not n:
        return math.nan, math.nan
    interval = binomtest(hits, n).proportion_ci(level)
    return float(interval.low), float(interval.high)


def interval_of_mean(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean; nan from fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan, math.nan
    middle, spread = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * spread
    return middle - half, middle + half


def interval_of_median(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The order statistics between which the median lies whatever the distribution; the ends where n is small."""
    from scipy.stats import binom

    n = len(values)
    if not n:
        return math.nan, math.nan
    ordered = sorted(values)
    rank = int(binom.ppf((1 - level) / 2, n, 0.5))
    return float(ordered[max(rank - 1, 0)]), float(ordered[min(n - rank, n - 1)])


def at_least(hits: int, n: int, p: float) -> float:
    """P(X ≥ hits) for X ~ Binomial(n, p)."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, n, p))


def at_most(hits: int, n: int, p: float) -> float:
    """P(X ≤ hits) for X ~ Binomial(n, p)."""
    return at_least(n - hits, n, 1 - p)


def two_sided(hits: int, n: int) -> float:
    """Sign test: how often a fair coin is at least as far from one half; nan without answers."""
    from scipy.stats import binomtest

    return float(binomtest(hits, n).pvalue) if n else math.nan


def sum_at_least(hits: int, groups: Sequence[tuple[int, float]]) -> float:
    """P(X ≥ hits) for a sum of independent Binomial(n, p): pairs of several difficulties."""
    from scipy.stats import binom

    mass = np.ones(1)
    for n, p in groups:
        mass = np.convolve(mass, binom.pmf(np.arange(n + 1), n, p))
    return float(min(1.0, mass[max(hits, 0) :].sum()))


class Drop(NamedTuple):
    """Where a sequence is worse after than before."""

    at: int
    """How many belong to the part before."""
    before: float
    after: float
    p: float
    """How often a random order shows a drop as clear."""


def worst_drop(values: np.ndarray, rng: np.random.Generator, *, shortest: int, least: float, shuffles: int) -> Drop:
    """The split after which the mean falls most clearly, and how often a random order falls as much.

    Args:
        values: (N,) in their order in time.
        shortest: Fewest values on each side.
        least: A smaller fall of the mean is not tested; its p is 1.
    """
    n = len(values)
    if n < 2 * shortest or np.ptp(values) == 0:
        return Drop(n, math.nan, math.nan, 1.0)
    scores = _scan(values[None], shortest)[0]
    at = int(np.argmax(scores)) + shortest
    before, after = float(values[:at].mean()), float(values[at:].mean())
    if before - after < least:
        return Drop(at, before, after, 1.0)
    shuffled = rng.permuted(np.tile(values, (shuffles, 1)), axis=1)
    as_clear = (_scan(shuffled, shortest).max(axis=1) >= scores.max() - 1e-12).sum()
    return Drop(at, before, after, float(1 + as_clear) / (1 + shuffles))


def _scan(rows: np.ndarray, shortest: int) -> np.ndarray:
    """(S, N) → (S, N - 2·shortest + 1): standardized fall of the mean at each split."""
    n = rows.shape[1]
    sizes = np.arange(shortest, n - shortest + 1)
    total = rows.sum(axis=1, keepdims=True)
    first = np.cumsum(rows, axis=1)[:, sizes - 1]
    return (first / sizes - (total - first) / (n - sizes)) * np.sqrt(sizes * (n - sizes) / n)
