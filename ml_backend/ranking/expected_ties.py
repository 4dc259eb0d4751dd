"""How likely people are to say `equal`, which tells little of who is better: the penalty on pairs that look alike.

Where the model has learned ties (Davidson 1970) it says so itself. Where not, the share of ties among the answered
pairs is fitted as P(tie) = σ(level − slope · |r_a − r_b| / scale) with slope > 0, and a weak prior that keeps a few
answers from saying too much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml_backend.ranking.utility import outcomes
from preference.bradley_terry import sigmoid, softplus

TieProbability = Callable[[np.ndarray], np.ndarray]
"""The members' differences (K, C) → P(tie), (C,)."""
FEWEST = 3
"""Ties before anything is said of them."""
PRIOR_SD = 3.0
"""Of the level and of the logarithm of the slope, both about 0."""


def davidson_ties(nu: np.ndarray) -> TieProbability:
    """By the model's own ν, (K,)."""
    return lambda x: outcomes(x, nu)[2].mean(axis=0)


def fitted_ties(difference: np.ndarray, tie: np.ndarray) -> TieProbability | None:
    """From answered pairs; None where there are too few ties to tell.

    Args:
        difference: (M,) the mean reward's r_a − r_b of each.
        tie: (M,) whether the answer was a tie.
    """
    if tie.sum() < FEWEST:
        return None
    from scipy.optimize import minimize

    scale = max(float(np.abs(difference).mean()), 1e-12)
    size, said = np.abs(difference) / scale, tie.astype(float)

    def objective(theta: np.ndarray) -> float:
        z = theta[0] - np.exp(theta[1]) * size
        return float((softplus(z) - said * z).sum() + (theta**2).sum() / (2.0 * PRIOR_SD**2))

    level, log_slope = minimize(objective, np.zeros(2), method="BFGS").x
    return lambda x: sigmoid(level - np.exp(log_slope) * np.abs(x.mean(axis=0)) / scale)
