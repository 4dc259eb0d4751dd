"""A batch that does not ask the same thing many times: a determinantal point process over the best pairs.

Rules that value each pair by itself propose near-copies: with one reward difference open, every pair that shows it is
worth the same. The best `top` pairs form a process with kernel L_ij = q_i q_j cos²(x_i, x_j), q the utility and
x = φ_a − φ_b (squared, because a pair and its mirror image ask the same); the batch is its greedy most likely subset
(Kulesza & Taskar 2012; greedy with a running Cholesky factor, Chen, Zhang & Zhou 2018). Bıyık, Talati & Sadigh 2022
(APReL) choose batches so from the top 100.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

TOP, TIMES = 100, 5
"""The best 100 pairs, and at least five times the batch, are chosen from."""
JITTER = 1e-6
"""On the kernel's diagonal, in units of it: copies stay possible, after everything else."""
ALIKE = 1e-3
"""Of the mean length of x, as one more coordinate: pairs without any difference are copies of one another."""


def diverse(x: np.ndarray, utility: np.ndarray) -> Generator[int, bool | None, None]:
    """Rows of the pairs, each the best after those before it; the caller says with `send(False)` that one was not used.

    Args:
        x: (C, H) φ_a − φ_b of each pair.
        utility: (C,) more than 0.
    """
    floor = max(ALIKE * float(np.linalg.norm(x, axis=1).mean()), 1e-12)
    direction = np.column_stack([x, np.full(len(x), floor)])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    quality = np.maximum(utility, 1e-300)
    left = quality**2 * (1.0 + JITTER)
    factors: list[np.ndarray] = []
    waiting = np.ones(len(x), bool)
    for _ in range(len(x)):
        best = int(np.argmax(np.where(waiting, left, -np.inf)))
        waiting[best] = False
        if (yield best) is False:
            continue
        row = quality[best] * quality * (direction @ direction[best]) ** 2
        for factor in factors:
            row = row - factor * factor[best]
        factor = row / np.sqrt(max(left[best], 1e-300))
        factors.append(factor)
        left = np.maximum(left - factor**2, JITTER * quality**2)
