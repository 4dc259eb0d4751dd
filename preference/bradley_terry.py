"""Bradley-Terry with ties in numpy: losses with gradients, and the fit of one score per item.

Convention: P(a ≻ b) = σ(x) with x = r_a − r_b; a label y is 1.0 (A), 0.0 (B) or 0.5 (tie). Losses are negative
log-likelihoods per pair; gradients are with respect to x. `ml_backend.losses` has the same formulas in torch, and a
test holds the two together.

- soft label: Christiano et al. 2017; a tie's cross-entropy against 0.5, smallest at x = 0
- Davidson 1970: a third outcome with its own parameter ν
- margin: −log σ(margin − |x|) on ties, which draws tied items together. The often-quoted −log σ(|x| − margin) has
  its sign the wrong way round and pushes them apart.
"""

from __future__ import annotations

import math

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


def fit_items(
    a: np.ndarray,
    b: np.ndarray,
    label: np.ndarray,
    items: int,
    *,
    penalty: float,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """One score per item: minimizes Σ w · soft loss + penalty · ‖θ‖² by Newton's method.

    Args:
        a, b: (N,) items of each pair.
        label: (N,) 1.0, 0.0 or 0.5.
        items: How many items there are.
        penalty: λ > 0; a normal prior of variance 1/(2λ). It is what makes scores finite where an item always wins.
        weight: (N,); default: 1 each.

    Returns:
        (items,) float64, mean about 0.

    Raises:
        DataError: the penalty is not positive, or an index lies outside.
    """
    if penalty <= 0:
        raise DataError(f"penalty: expected more than 0, found {penalty}.")
    if len(a) and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < items):
        raise DataError(
            f"pairs: expected items 0 to {items - 1}, found {min(a.min(), b.min())} to {max(a.max(), b.max())}."
        )
    weight = np.ones(len(a)) if weight is None else weight
    theta = np.zeros(items)
    for _ in range(MAX_NEWTON):
        gradient, hessian = _derivatives(theta, a, b, label, weight, penalty)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - _damped(step, theta, a, b, label, weight, penalty)
        if np.abs(step).max() < TOLERANCE:
            break
    return theta


def objective(
    theta: np.ndarray, a: np.ndarray, b: np.ndarray, label: np.ndarray, weight: np.ndarray, penalty: float
) -> float:
    """What `fit_items` minimizes."""
    return float(weight @ soft_loss(theta[a] - theta[b], label)[0] + penalty * theta @ theta)


def _derivatives(theta, a, b, label, weight, penalty):
    x = theta[a] - theta[b]
    slope = weight * soft_loss(x, label)[1]
    curvature = weight * sigmoid(x) * sigmoid(-x)
    gradient = 2.0 * penalty * theta
    np.add.at(gradient, a, slope)
    np.add.at(gradient, b, -slope)
    hessian = 2.0 * penalty * np.eye(len(theta))
    for rows, columns, sign in ((a, a, 1.0), (b, b, 1.0), (a, b, -1.0), (b, a, -1.0)):
        np.add.at(hessian, (rows, columns), sign * curvature)
    return gradient, hessian


def _damped(step, theta, *data):
    """The step, halved until the objective does not rise: far from the optimum a full one may overshoot."""
    before = objective(theta, *data)
    for _ in range(40):
        if objective(theta - step, *data) <= before:
            break
        step = step / 2.0
    return step


def accuracy_ceiling(agreement: float) -> float:
    """How often one annotator is right, from how often two agree; no model beats it on their held-out answers.

    With annotators who are independently right with probability a, p = 2a² − 2a + 1, hence a = ½(1 + √(2p − 1)).
    Below p = ½ they agree less than by chance, and the ceiling is ½.
    """
    return 0.5 * (1.0 + math.sqrt(max(0.0, 2.0 * agreement - 1.0)))
