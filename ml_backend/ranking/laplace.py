"""What the labels leave open: the Laplace posterior of the ensemble's last layer.

The mean reward is linear in `RewardModel.last_layer`, so around the fit its posterior is a normal one, with the
Bradley-Terry likelihood's curvature (MacKay 1992; Kristiadi et al. 2020). The covariance of the weights gives the
variance of any pair's x = r_a − r_b, which selection and reports go by.
"""

from __future__ import annotations

import numpy as np

from preference.bradley_terry import sigmoid

CHUNK = 8_192
"""Pairs whose feature differences are in memory at once."""


def covariance(
    phi: np.ndarray, rewards: np.ndarray, a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Σ (H, H), the posterior covariance after the labelled pairs.

    The prior's variance is the one under which two trajectories' rewards spread as the model's do.

    Args:
        phi: (N, H) last-layer features of the pool.
        rewards: (N,) the mean reward.
        a, b: (M,) rows of the pairs that were answered; what was answered does not change the curvature.
        weight: (M,); default: 1 each.
    """
    size = float(np.einsum("nh,nh->", phi, phi)) / len(phi) - float((phi.mean(axis=0) ** 2).sum())
    prior = max(float(rewards.var()), 1e-6) / max(size, 1e-9)
    precision = np.eye(phi.shape[1]) / prior
    for start in range(0, len(a), CHUNK):
        rows = slice(start, start + CHUNK)
        x = phi[a[rows]] - phi[b[rows]]
        p = sigmoid(rewards[a[rows]] - rewards[b[rows]])
        curvature = p * (1.0 - p) if weight is None else weight[rows] * p * (1.0 - p)
        precision += (x * curvature[:, None]).T @ x
    return np.linalg.inv(precision)


def variance(sigma: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """(M,) variance of r_a − r_b from the pairs' φ_a − φ_b, (M, H)."""
    return np.einsum("ch,hk,ck->c", difference, sigma, difference, optimize=True)
