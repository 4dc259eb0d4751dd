"""Bradley-Terry with ties in numpy: losses with gradients.

Convention: P(a ≻ b) = σ(x) with x = r_a − r_b; a label y is 1.0 (A), 0.0 (B) or 0.5 (tie). Losses are negative
log-likelihoods per pair; gradients are with respect to x. `ml_backend.reward.losses` has the same formulas in torch,
and a test holds the two together.

- soft label: Christiano et al. 2017; a tie's cross-entropy against 0.5, smallest at x = 0
- Davidson 1970: a third outcome with its own parameter ν
"""

from __future__ import annotations

import math

import numpy as np


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
