"""How much would more comparisons bring? Accuracy by the number of training pairs, and its extrapolation.

The error is fitted as e(n) = e∞ + a / √n with both at least 0 (Cortes et al. 1994, with the exponent of a parametric
estimate): three or four noisy points do not carry a third unknown. What is read off is an extrapolation and is told as
one; where the curve is flat, no number of comparisons is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SHARES = (0.25, 0.5, 0.75, 1.0)
REPEATS = 3
"""Draws of each smaller share."""
POINT = 0.01
FURTHEST = 20.0
"""An extrapolation to more than so many times the present pairs means nothing."""


def learning_curve(
    train: np.ndarray, accuracies: Callable[[list[np.ndarray], list[int]], Sequence[float]], rng: np.random.Generator
) -> dict[str, Any]:
    """Points, fit and extrapolation.

    Args:
        train: Rows of the training pairs.
        accuracies: Parts of these rows, and each one's number among those of its size → accuracy on the test pairs of
            a model trained on that part alone.
    """
    draws = [(max(2, round(share * len(train))), n) for share in SHARES for n in range(1 if share == 1.0 else REPEATS)]
    values = accuracies([np.sort(rng.permutation(train)[:size]) for size, _ in draws], [number for _, number in draws])
    by_size: dict[int, list[float]] = {}
    for (size, _), value in zip(draws, values, strict=True):
        by_size.setdefault(size, []).append(value)
    points = [{"pairs": n, "accuracy": float(np.mean(own)), "repeats": len(own)} for n, own in by_size.items()]
    return {"points": points} | fit([p["pairs"] for p in points], [p["accuracy"] for p in points])


def fit(pairs: Sequence[int], accuracies: Sequence[float]) -> dict[str, Any]:
    """`limit` (accuracy with endless comparisons), `slope` (a), `more_pairs` for one more point (None where flat)."""
    from scipy.optimize import nnls

    sizes, errors = np.asarray(pairs, float), 1.0 - np.asarray(accuracies, float)
    if len(sizes) < 2 or not np.isfinite(errors).all():
        return {"limit": math.nan, "slope": math.nan, "more_pairs": None}
    (floor, slope), _ = nnls(np.stack([np.ones(len(sizes)), sizes**-0.5], axis=1), errors)
    return {"limit": 1.0 - float(floor), "slope": float(slope), "more_pairs": _more(float(slope), float(sizes.max()))}


def _more(slope: float, now: float) -> int | None:
    """Comparisons beyond `now` until the fitted error is `POINT` smaller."""
    left = slope / math.sqrt(now) - POINT
    if left <= 0:
        return None
    needed = (slope / left) ** 2
    return math.ceil(needed - now) if needed <= FURTHEST * now else None
