"""What a pair is worth: the members' differences (K, C) in, one number per pair out.

| rule | utility | source |
| --- | --- | --- |
| `smallest_difference` | −|r_a − r_b|, and nothing else | the protocol |
| `closest` | 1 − |r_a − r_b| / w, within w = 0.5 sd | the protocol, with what all rules share |
| `disagreement` | sd over members of P(a ≻ b) | Christiano et al. 2017 |
| `bald` | H(mean p) − mean H(p) over the outcomes | Houlsby et al. 2011 |
| `d_optimal` | p(1 − p) · xᵀΣx, after the choices before it | sequential D-optimal design |
| `v_optimal` | wrong orders of the pool that an answer is expected to correct, likewise | V-optimal design |

The outcomes are two, or with Davidson's model (1970) three, a tie being one of them. Σ is the Laplace posterior of the
ensemble's last layer, or for `v_optimal` of the design (`covariance`), x = φ_a − φ_b. A pair that people are likely to
call equal tells little of who is better: `davidson_ties` and `fitted_ties` say how likely that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from preference.bradley_terry import sigmoid, softplus

CHUNK = 8_192
"""Pairs whose feature differences are in memory at once."""
LIVE = 1_024
"""Candidates that are kept up to date from the start; more are taken in when the best of them falls below the rest."""
FEWEST = 3
"""Ties before anything is said of them."""
PRIOR_SD = 3.0
"""Of the level and of the logarithm of the slope, both about 0."""


def outcomes(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(2 or 3, K, C) each member's probabilities of A, B and, with Davidson's ν, a tie."""
    if nu is None:
        p = sigmoid(x)
        return np.stack([p, 1.0 - p])
    logits = np.stack([0.5 * x, -0.5 * x, np.broadcast_to(np.log(2.0 * nu)[:, None], x.shape)])
    p = np.exp(logits - logits.max(axis=0))
    return p / p.sum(axis=0)


def disagreement(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(C,) how differently the members see who wins."""
    return outcomes(x, nu)[0].std(axis=0)


def mutual_information(x: np.ndarray, nu: np.ndarray | None) -> np.ndarray:
    """(C,) nats that an answer is expected to tell about which member is right."""
    p = outcomes(x, nu)
    return _entropy(p.mean(axis=1)) - _entropy(p).mean(axis=0)


def closeness(x: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(C,) 1 for equal mean rewards, 0 at `width` (C,) apart, below 0 beyond."""
    return 1.0 - np.abs(x.mean(axis=0)) / width


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, over the first axis."""
    q = np.clip(p, 1e-12, 1.0)
    return -(q * np.log(q)).sum(axis=0)


def covariance(
    phi: np.ndarray, rewards: np.ndarray, a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Σ (H, H), the Laplace posterior's covariance after the labelled pairs.

    The mean reward is linear in `RewardModel.last_layer`, so around the fit its posterior is a normal one, with the
    Bradley-Terry likelihood's curvature (MacKay 1992; Kristiadi et al. 2020). The prior's variance is the one under
    which two trajectories' rewards spread as the model's do.

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


def d_optimal(
    phi: np.ndarray, pairs: np.ndarray, weight: np.ndarray, sigma: np.ndarray, fits: Callable[[int, int], bool]
) -> Iterator[tuple[int, float]]:
    """Rows of the pairs in the order in which they are to be asked, and what each was worth in its turn.

    Once a pair is chosen, the posterior is what it would be with that pair answered: Σ ← Σ − wΣxxᵀΣ / (1 + w xᵀΣx)
    (Sherman & Morrison 1950), so that the next one asks about something else. An answer can only make a pair worth
    less, so most candidates never have to be looked at again: a pair that was worth less at the start than the best is
    now cannot be the best.

    Args:
        phi: (N, H) last-layer features.
        pairs: (C, 2) candidates.
        weight: (C,) what one answer tells of x: p(1 − p), less what ties take.
        sigma: (H, H) the posterior before.
        fits: Whether both trajectories may be shown once more. Pairs that do not fit are passed over, for what is not
            asked teaches nothing.
    """
    first = np.empty(len(pairs))
    for start in range(0, len(pairs), LIVE):
        rows = slice(start, start + LIVE)
        first[rows] = weight[rows] * variance(sigma, phi[pairs[rows, 0]] - phi[pairs[rows, 1]])
    order = np.argsort(-first, kind="stable")
    live = _Live(phi, pairs, weight, sigma.copy())
    while True:
        best = live.best()
        seen = len(live.rows)
        if seen < len(order) and (best is None or best[1] < first[order[seen]]):
            live.take_in(order[seen : seen + max(LIVE, seen)])
            continue
        if best is None:
            return
        place, worth = best
        row = int(live.rows[place])
        live.waiting[place] = False
        if fits(int(pairs[row, 0]), int(pairs[row, 1])):
            yield row, worth
            live.ask(place)


class _Live:
    """The candidates that may be the best, under the present posterior."""

    def __init__(self, phi: np.ndarray, pairs: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> None:
        self._phi, self._pairs, self._weight, self.sigma = phi, pairs, weight, sigma
        self.rows = np.empty(0, np.int64)
        self.waiting = np.empty(0, bool)
        self._x, self._spread = np.empty((0, phi.shape[1])), np.empty(0)

    def take_in(self, rows: np.ndarray) -> None:
        x = self._phi[self._pairs[rows, 0]] - self._phi[self._pairs[rows, 1]]
        self.rows = np.concatenate([self.rows, rows])
        self.waiting = np.concatenate([self.waiting, np.ones(len(rows), bool)])
        self._x = np.concatenate([self._x, x])
        self._spread = np.concatenate([self._spread, variance(self.sigma, x)])

    def best(self) -> tuple[int, float] | None:
        """Its place and worth; None where nothing waits."""
        if not self.waiting.any():
            return None
        worth = np.where(self.waiting, self._weight[self.rows] * self._spread, -np.inf)
        place = int(np.argmax(worth))
        return place, float(worth[place])

    def ask(self, place: int) -> None:
        """As if that pair had been answered."""
        x, weight = self._x[place], self._weight[self.rows[place]]
        direction = self.sigma @ x
        shrink = weight / (1.0 + weight * float(x @ direction))
        self.sigma -= shrink * np.outer(direction, direction)
        self._spread = self._spread - shrink * (self._x @ direction) ** 2


def wrong_orders(phi: np.ndarray, rewards: np.ndarray, sigma: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(H, H) T, so that a posterior Σ − Δ has tr(TΔ) fewer wrong orders among the pairs than Σ, for small Δ.

    Where x has mean m and variance v, its sign is wrong with probability Φ(−|m|/√v); T is the sum of that one's
    derivatives in v, φ(m/√v) |m| / (2 v^{3/2}), times xxᵀ.

    Args:
        phi: (N, H) last-layer features.
        rewards: (N,) the mean reward.
        sigma: (H, H) the posterior.
        pairs: (C, 2) whose order matters: all of the pool, or a sample.
    """
    total = np.zeros_like(sigma)
    for start in range(0, len(pairs), CHUNK):
        a, b = pairs[start : start + CHUNK].T
        x = phi[a] - phi[b]
        sd = np.sqrt(np.maximum(variance(sigma, x), 1e-12))
        z = np.abs(rewards[a] - rewards[b]) / sd
        total += (x * (np.exp(-0.5 * z**2) * z / sd**2)[:, None]).T @ x
    return total / (2.0 * np.sqrt(2.0 * np.pi))


def v_optimal(
    phi: np.ndarray,
    pairs: np.ndarray,
    weight: np.ndarray,
    sigma: np.ndarray,
    orders: np.ndarray,
    fits: Callable[[int, int], bool],
) -> Iterator[tuple[int, float]]:
    """Rows of the pairs in the order in which they are to be asked, and what each was worth in its turn: w xᵀΣTΣx /
    (1 + w xᵀΣx), the wrong orders of the pool that one answer is expected to correct.

    D-optimal design asks where the reward is least known, V-optimal design where that matters to what it is used for
    (Bayesian V- or I-optimality, Chaloner & Verdinelli 1995).

    Args:
        orders: (H, H) T, of `wrong_orders`. The others are those of `d_optimal`.
    """
    sigma, waiting = sigma.copy(), np.ones(len(pairs), bool)
    x = phi[pairs[:, 0]] - phi[pairs[:, 1]]
    spread, mends = variance(sigma, x), variance(sigma @ orders @ sigma, x)
    while waiting.any():
        worth = np.where(waiting, weight * mends / (1.0 + weight * spread), -np.inf)
        row = int(np.argmax(worth))
        waiting[row] = False
        if not fits(int(pairs[row, 0]), int(pairs[row, 1])):
            continue
        yield row, float(worth[row])
        direction = sigma @ x[row]
        shrink = weight[row] / (1.0 + weight[row] * float(x[row] @ direction))
        shared, mended = (x @ np.stack([direction, sigma @ (orders @ direction)], axis=1)).T
        own = float(direction @ orders @ direction)
        sigma -= shrink * np.outer(direction, direction)
        spread = spread - shrink * shared**2
        mends = np.maximum(mends - 2.0 * shrink * shared * mended + (shrink * shared) ** 2 * own, 0.0)


TieProbability = Callable[[np.ndarray], np.ndarray]
"""The members' differences (K, C) → P(tie), (C,)."""


def davidson_ties(nu: np.ndarray) -> TieProbability:
    """By the model's own ν, (K,)."""
    return lambda x: outcomes(x, nu)[2].mean(axis=0)


def fitted_ties(difference: np.ndarray, tie: np.ndarray) -> TieProbability | None:
    """From answered pairs; None where there are too few ties to tell.

    Fits P(tie) = σ(level − slope · |r_a − r_b| / scale) with slope > 0, and a weak prior that keeps a few answers from
    saying too much.

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
