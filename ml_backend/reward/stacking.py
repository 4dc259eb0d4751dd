"""How much each part of a reward counts: differences that each gave to pairs it had not seen in, weights out.

Stacking (Wolpert 1992) with weights of at least 0 (Breiman 1996), on the likelihood of the answers. A normal prior says
that both count alike: with few labels the mean of the two is hardly behind the better one, whichever that is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ml_backend.reward.evidence import Answers, slipped
from preference.bradley_terry import davidson_loss

PRIOR, PRIOR_SD = 0.5, 0.5
"""Of both weights, for parts of one size."""

NU_RANGE = (0.01, 20.0)
"""Of Davidson's ν."""


def stack(simple: np.ndarray, network: np.ndarray, answers: Answers) -> tuple[float, float]:
    """Weights of the two parts.

    Args:
        simple: (N,) r_a − r_b of each pair, by a simple part that did not see it.
        network: (N,) the same of the network; nan where it saw the pair.
    """
    from scipy.optimize import minimize

    known = np.isfinite(network)
    spread = float(network[known].std()) if known.any() else 0.0
    if spread == 0.0:
        return 1.0, 0.0
    # The prior is about parts of one size; an early network's differences are small
    scale = float(simple[known].std()) / spread
    both = np.column_stack([simple, scale * np.where(known, network, 0.0)])
    kept = Answers(answers.pair, answers.label, answers.weight * known[answers.pair], answers.slip)

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope, _ = slipped(both @ w, kept)
        away = (w - PRIOR) / PRIOR_SD**2
        return loss + 0.5 * float(away @ (w - PRIOR)), both.T @ slope + away

    found: Any = minimize(cost, np.full(2, PRIOR), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * 2)
    return float(found.x[0]), float(found.x[1]) * scale


def fit_log_nu(x: np.ndarray, label: np.ndarray) -> float:
    """Log of the ν that Davidson's model (1970) finds most likely at the differences x (N,) of the whole reward."""
    from scipy.optimize import minimize_scalar

    low, high = map(math.log, NU_RANGE)
    found: Any = minimize_scalar(lambda v: float(davidson_loss(x, label, v)[0].sum()), bounds=(low, high),
                                 method="bounded")  # fmt: skip
    return float(found.x)
