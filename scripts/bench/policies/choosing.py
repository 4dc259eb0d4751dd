"""Which episodes a policy is cloned from: rewards in, a weight for each episode out."""

from __future__ import annotations

from typing import Any

import numpy as np

SHARE, MANY = 0.3, 0.5
"""Of the episodes: the hard cut; good ones from which on soft weights are taken."""
TEMPERATURE, MOST = 0.5, 20.0
"""Of soft weights, in standard deviations of the reward; the largest of them."""


def best(rewards: np.ndarray) -> np.ndarray:
    """(N,) 1 for the best 30 %, else 0, as `robopref export lerobot --best 0.3` marks them."""
    from release.lerobot import best_of_each

    return best_of_each(rewards, [""] * len(rewards), SHARE).astype(float)


def soft(rewards: np.ndarray) -> np.ndarray:
    """(N,) exponential in the reward, as advantage-weighted cloning has it."""
    return np.minimum(np.exp((rewards - rewards.mean()) / (TEMPERATURE * rewards.std())), MOST)


def by_itself(rewards: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """Soft weights where at least half of the episodes are good, the hard cut elsewhere.

    Good are those above the value that best divides the rewards into two classes (largest variance between them, Otsu
    1979). Nothing but the rewards is looked at.
    """
    good = float(np.mean(rewards > divide(rewards)))
    facts["good"] = round(good, 3)
    return soft(rewards) if good >= MANY else best(rewards)


def divide(values: np.ndarray) -> float:
    """The value with the largest variance between what is above and what is not."""
    ordered = np.sort(values)
    n = len(ordered)
    below = np.arange(1, n)
    sums = ordered.cumsum()
    gap = (sums[-1] - sums[:-1]) / (n - below) - sums[:-1] / below
    return float(ordered[np.argmax(below * (n - below) * gap**2)])
