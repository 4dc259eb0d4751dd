"""Sequential D-optimal design: after each choice the posterior is what it would be with that pair answered.

A pair is worth w · xᵀΣx: x = φ_a − φ_b, Σ the Laplace posterior of the last layer, w = p(1 − p) times the probability
that it is no tie. Once it is chosen, Σ ← Σ − wΣxxᵀΣ / (1 + w xᵀΣx) (Sherman & Morrison 1950), so that the next one
asks about something else. An answer can only make a pair worth less, so most candidates never have to be looked at
again: a pair that was worth less at the start than the best is now cannot be the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ml_backend.ranking.laplace import variance

LIVE = 1_024
"""Candidates that are kept up to date from the start; more are taken in when the best of them falls below the rest."""


def d_optimal(
    phi: np.ndarray, pairs: np.ndarray, weight: np.ndarray, sigma: np.ndarray, fits: Callable[[int, int], bool]
) -> Iterator[tuple[int, float]]:
    """Rows of the pairs in the order in which they are to be asked, and what each was worth in its turn.

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
