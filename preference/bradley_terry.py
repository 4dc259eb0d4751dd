"""Bradley-Terry with ties in numpy: losses with gradients, and the fit of one score per item.

Convention: P(a ≻ b) = σ(x) with x = r_a − r_b; a label y is 1.0 (A), 0.0 (B) or 0.5 (tie). Losses are negative
log-likelihoods per pair; gradients are with respect to x. `ml_backend.reward.losses` has the same formulas in torch,
and a
test holds the two together.

- soft label: Christiano et al. 2017; a tie's cross-entropy against 0.5, smallest at x = 0
- Davidson 1970: a third outcome with its own parameter ν
- margin: −log σ(margin − |x|) on ties, which draws tied items together. The often-quoted −log σ(|x| − margin) has
  its sign the wrong way round and pushes them apart.
- Crowd-BT: Chen et al. 2013; each annotator is right with a probability of their own
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from preference.errors import DataError

MAX_NEWTON = 100
TOLERANCE = 1e-10


def sigmoid(x: np.ndarray) -> np.ndarray:
    """σ(x), without overflow at either end."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64)))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x) = −log σ(−x)."""
    return np.logaddexp(0.0, x)


def soft_loss(x: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """−[y log σ(x) + (1 − y) log σ(−x)] and its gradient σ(x) − y; for a tie that is ½ tanh(x/2)."""
    return label * softplus(-x) + (1.0 - label) * softplus(x), sigmoid(x) - label


def davidson_loss(x: np.ndarray, label: np.ndarray, log_nu: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """−log P under Davidson's model, and its gradients by x and by log ν.

    With the common factor e^{(r_a + r_b)/2} taken out: P(A) ∝ e^{x/2}, P(B) ∝ e^{−x/2}, P(tie) ∝ 2ν.
    """
    logits = np.stack([0.5 * x, -0.5 * x, np.full_like(x, math.log(2.0) + log_nu)])
    log_z = np.logaddexp.reduce(logits, axis=0)
    p_a, p_b, p_tie = np.exp(logits - log_z)
    tie = label == 0.5
    own = np.where(tie, logits[2], np.where(label == 1.0, logits[0], logits[1]))
    slope = np.where(tie, 0.0, np.where(label == 1.0, 0.5, -0.5))
    return log_z - own, 0.5 * (p_a - p_b) - slope, p_tie - tie


def margin_loss(x: np.ndarray, label: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft loss where somebody won, −log σ(margin − |x|) on ties, and the gradient (0 at the cusp x = 0)."""
    value, gradient = soft_loss(x, label)
    excess = np.abs(x) - margin
    tie = label == 0.5
    return np.where(tie, softplus(excess), value), np.where(tie, sigmoid(excess) * np.sign(x), gradient)


def crowd_loss(x: np.ndarray, label: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """−log [η P(y) + (1 − η) P(1 − y)], and its gradients by x and by the log odds of η.

    Args:
        eta: The probability that the annotator means what they say; below ½ they say the opposite. A tie's opposite is
            a tie, so ties say nothing of η.
    """
    (honest, by_honest), (swapped, by_swapped) = soft_loss(x, label), soft_loss(x, 1.0 - label)
    said, opposite = eta * np.exp(-honest), (1.0 - eta) * np.exp(-swapped)
    whole = said + opposite
    by_eta = eta * (1.0 - eta) * (np.exp(-swapped) - np.exp(-honest)) / whole
    return -np.log(whole), (said * by_honest + opposite * by_swapped) / whole, by_eta


def fit_linear(
    difference: np.ndarray, label: np.ndarray, *, penalty: float, weight: np.ndarray | None = None
) -> np.ndarray:
    """Weights θ of a reward that is linear in features: minimizes Σ w · soft loss(θ·d) + penalty · ‖θ‖² by Newton.

    Args:
        difference: d, (N, D): features of a minus features of b.
        label: (N,) 1.0, 0.0 or 0.5.
        penalty: λ > 0; a normal prior of variance 1/(2λ). It is what makes weights finite where one side always wins.
        weight: (N,); default: 1 each.

    Returns:
        (D,) float64.

    Raises:
        DataError: the penalty is not positive.
    """
    if penalty <= 0:
        raise DataError(f"penalty: expected more than 0, found {penalty}.")
    weight = np.ones(len(label)) if weight is None else weight
    theta = np.zeros(difference.shape[1])

    def value(theta: np.ndarray) -> float:
        return float(weight @ soft_loss(difference @ theta, label)[0] + penalty * theta @ theta)

    for _ in range(MAX_NEWTON):
        x = difference @ theta
        gradient = difference.T @ (weight * soft_loss(x, label)[1]) + 2.0 * penalty * theta
        curvature = weight * sigmoid(x) * sigmoid(-x)
        hessian = (difference.T * curvature) @ difference + 2.0 * penalty * np.eye(len(theta))
        step = np.linalg.solve(hessian, gradient)
        theta = theta - _damped(step, theta, value)
        if np.abs(step).max() < TOLERANCE:
            break
    return theta


def fit_items(
    a: np.ndarray,
    b: np.ndarray,
    label: np.ndarray,
    items: int,
    *,
    penalty: float,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """One score per item: `fit_linear` on one-hot features.

    Args:
        a, b: (N,) items of each pair.
        items: How many items there are.
        label, penalty, weight: As there.

    Returns:
        (items,) float64, mean about 0.

    Raises:
        DataError: the penalty is not positive, or an index lies outside.
    """
    if len(a) and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < items):
        raise DataError(
            f"pairs: expected items 0 to {items - 1}, found {min(a.min(), b.min())} to {max(a.max(), b.max())}."
        )
    one_hot = np.eye(items)
    return fit_linear(one_hot[a] - one_hot[b], label, penalty=penalty, weight=weight)


def _damped(step: np.ndarray, theta: np.ndarray, value: Callable[[np.ndarray], float]) -> np.ndarray:
    """The step, halved until the objective does not rise: far from the optimum a full one may overshoot."""
    before = value(theta)
    for _ in range(40):
        if value(theta - step) <= before:
            break
        step = step / 2.0
    return step
