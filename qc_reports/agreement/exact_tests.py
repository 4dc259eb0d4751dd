"""What chance explains: exact intervals and tests for counts, and a test for a change half-way.

References: Clopper & Pearson 1934 · Student 1908 · a median's interval by order statistics, Thompson 1936 · the
change-point scan is a standardized CUSUM (Page 1954) with its null distribution by permutation, so it is exact for any
mixture of easy and hard answers given in random order · Chernoff 1952 · Benjamini & Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Of every interval."""


@lru_cache(maxsize=100_000)
def interval_of_share(hits: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share; nan without answers."""
    from scipy.stats import binomtest

    if not n:
        return math.nan, math.nan
    interval = binomtest(hits, n).proportion_ci(LEVEL)
    return float(interval.low), float(interval.high)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Student's interval of a mean; nan from fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan, math.nan
    middle, spread = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread
    return middle - half, middle + half


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies whatever the distribution; the ends where n is small."""
    from scipy.stats import binom

    n = len(values)
    if not n:
        return math.nan, math.nan
    ordered = sorted(values)
    rank = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))
    return float(ordered[max(rank - 1, 0)]), float(ordered[min(n - rank, n - 1)])


def at_least(hits: int, n: int, p: float) -> float:
    """P(X ≥ hits) for X ~ Binomial(n, p)."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, n, p))


def at_most(hits: int, n: int, p: float) -> float:
    """P(X ≤ hits) for X ~ Binomial(n, p)."""
    return at_least(n - hits, n, 1 - p)


def weighted_at_most(groups: Sequence[tuple[int, int, int]], p: float) -> float:
    """P(Σ weight · X ≤ Σ weight · hits) for independent X ~ Binomial(n, p): batches that count differently. Exact.

    Args:
        groups: (hits, n, weight), weights in whole numbers.
    """
    from scipy.stats import binom

    mass = np.ones(1)
    for _, n, weight in groups:
        spaced = np.zeros(n * weight + 1)
        spaced[::weight] = binom.pmf(np.arange(n + 1), n, p)
        mass = np.convolve(mass, spaced)
    seen = sum(hits * weight for hits, _, weight in groups)
    return float(min(1.0, mass[: seen + 1].sum()))


def hits_bound(
    hits: np.ndarray, chances: np.ndarray, weights: np.ndarray, *, above: bool, spread: float = 1.0
) -> float:
    """How often Σ weight · X is at least as far from its mean, for independent X ~ Bernoulli(chance): Chernoff's bound,
    which is never too small, whatever the weights and however few the answers.

    Args:
        hits, chances, weights: (N,) 0 or 1; in (0, 1); ≥ 0.
        above: Whether many hits count, or few.
        spread: ≥ 1: so many times the variance that independence gives, as measured beside it.
    """
    from scipy.optimize import minimize_scalar

    if not above:
        hits, chances = 1 - hits, 1 - chances
    seen = float(weights @ hits)
    most = float(weights.max(initial=0.0))
    if most == 0 or seen <= weights @ chances:
        return 1.0

    def exponent(slope: float) -> float:
        return float(np.log1p(chances * np.expm1(slope * weights)).sum() - slope * seen)

    found = minimize_scalar(exponent, bounds=(0.0, 30 / most), method="bounded")
    return math.exp(min(0.0, float(found.fun)) / spread)


def false_discoveries(p: Sequence[float], share: float) -> float:
    """The largest p-value that Benjamini and Hochberg (1995) reject, so that of all rejected no more than `share` are
    expected to be false; 0 where none is."""
    ordered = np.sort(np.asarray(p, dtype=float))
    passed = np.flatnonzero(ordered <= share * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    return float(ordered[passed[-1]]) if len(passed) else 0.0


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
    clearest = _scan(shuffled, shortest).max(axis=1)
    as_clear = int((clearest >= scores.max() - 1e-12).sum())
    p = (1 + as_clear) / (1 + shuffles)
    return Drop(at, before, after, p if as_clear else min(p, _gumbel_tail(clearest, float(scores.max()))))


def _gumbel_tail(maxima: np.ndarray, value: float) -> float:
    """P(maximum ≥ value) beyond what was drawn: Gumbel's distribution with the mean and spread of the drawn maxima,
    whose tail is heavier than that of the maximum of sums."""
    scale = float(maxima.std()) * math.sqrt(6) / math.pi
    if not scale:
        return 1.0
    return -math.expm1(-math.exp(-(value - float(maxima.mean())) / scale - np.euler_gamma))


def _scan(rows: np.ndarray, shortest: int) -> np.ndarray:
    """(S, N) → (S, N - 2·shortest + 1): standardized fall of the mean at each split."""
    n = rows.shape[1]
    sizes = np.arange(shortest, n - shortest + 1)
    total = rows.sum(axis=1, keepdims=True)
    first = np.cumsum(rows, axis=1)[:, sizes - 1]
    return (first / sizes - (total - first) / (n - sizes)) * np.sqrt(sizes * (n - sizes) / n)
