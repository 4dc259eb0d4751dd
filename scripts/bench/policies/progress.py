"""Weights for single steps from how much progress they made, and what makes cloning with them fail.

A step's advantage is how much an episode's progress rises within CHUNK steps, as LeRobot's reward-aligned cloning has
it. Progress is the reward of what has happened until then (our reward is a mean over steps, so this is a mean so far),
or the sum of the steps' rewards so far; learned, or the simulator's; between 0 and 1 over the pool. The forms also
differ in what is made of it, and in whether bad episodes are left out first. So they tell apart a wrong reward, a wrong
form and a wrong idea.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.asking import Asked
from policies.choosing import best
from policies.pool import EVERY, Pool

CHUNK = 2
"""Steps of the reward model, which are a second."""
MOST = 20.0
FORMS: dict[str, tuple[str, str, bool]] = {
    "progress, positive part": ("learned", "positive", False),
    "progress, exponential": ("learned", "exponential", False),
    "sum of step rewards, positive part": ("learned sum", "positive", False),
    "true progress, positive part": ("true sum", "positive", False),
    "true mean so far, positive part": ("true", "positive", False),
    "progress, positive part, of the best 30 %": ("learned", "positive", True),
}


def step_weights(form: str, pool: Pool, asked: Asked) -> np.ndarray:
    """(N·T,) what each row counts."""
    whose, shape, filtered = FORMS[form]
    progress = scaled(PROGRESS[whose](pool, asked))
    later = np.concatenate([progress[:, CHUNK:], np.repeat(progress[:, -1:], CHUNK, axis=1)], axis=1)
    rise = later - progress
    weights = np.maximum(rise, 0.0) if shape == "positive" else np.minimum(np.exp(rise / rise.std()), MOST)
    if filtered:
        weights = weights * best(asked.rewards(pool.features()))[:, None]
    return np.repeat(weights, EVERY, axis=1).ravel()


def so_far(pool: Pool, asked: Asked) -> np.ndarray:
    """(N, T / EVERY) reward of the episode so far."""
    from ml_backend.reward.features import Features

    whole = pool.features()
    ends = range(1, len(whole[0]) + 1)
    rewards = [asked.rewards([Features(f.frames[:n], f.actions[:n], f.state[:n]) for f in whole]) for n in ends]
    return np.stack(rewards, axis=1)


def summed(pool: Pool, asked: Asked) -> np.ndarray:
    """(N, T / EVERY) sum of the learned rewards of the steps so far."""
    return np.stack([said.rewards.mean(axis=0) for said in asked.model.score_steps(pool.features())]).cumsum(axis=1)


def true_sum(pool: Pool, _: Asked) -> np.ndarray:
    """(N, T / EVERY) of the true return so far."""
    return pool.rewards.cumsum(axis=1)[:, ::EVERY]


def true_mean(pool: Pool, _: Asked) -> np.ndarray:
    """(N, T / EVERY) true reward a row so far."""
    return (pool.rewards.cumsum(axis=1) / np.arange(1, pool.rewards.shape[1] + 1))[:, ::EVERY]


def scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) or 1.0)


PROGRESS: dict[str, Callable[[Pool, Asked], np.ndarray]] = {
    "learned": so_far, "learned sum": summed, "true": true_mean, "true sum": true_sum,
}  # fmt: skip
