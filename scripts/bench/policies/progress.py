"""Weights for single steps from how much progress they made, and why cloning with them fails.

Progress of an episode up to a step is the reward of what has happened until then, between 0 and 1 over the pool; a
step's advantage is how much it rises within CHUNK steps, as LeRobot's reward-aligned cloning has it. The forms differ
in what is made of it, in whether the progress is learned or the simulator's own (what has been collected so far of the
true return), and in whether bad episodes are left out first. So they tell apart a wrong reward from a wrong idea.
"""

from __future__ import annotations

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
    "true progress, positive part": ("true", "positive", False),
    "progress, positive part, of the best 30 %": ("learned", "positive", True),
}


def step_weights(form: str, pool: Pool, asked: Asked) -> np.ndarray:
    """(N·T,) what each row counts."""
    whose, shape, filtered = FORMS[form]
    progress = learned(pool, asked) if whose == "learned" else true(pool)
    later = np.concatenate([progress[:, CHUNK:], np.repeat(progress[:, -1:], CHUNK, axis=1)], axis=1)
    rise = later - progress
    weights = np.maximum(rise, 0.0) if shape == "positive" else np.minimum(np.exp(rise / rise.std()), MOST)
    if filtered:
        weights = weights * best(asked.rewards(pool.features()))[:, None]
    return np.repeat(weights, EVERY, axis=1).ravel()


def learned(pool: Pool, asked: Asked) -> np.ndarray:
    """(N, T / EVERY) reward of the episode so far."""
    from ml_backend.reward.features import Features

    whole = pool.features()
    ends = range(1, len(whole[0]) + 1)
    so_far = [asked.rewards([Features(f.frames[:n], f.actions[:n], f.state[:n]) for f in whole]) for n in ends]
    return scaled(np.stack(so_far, axis=1))


def true(pool: Pool) -> np.ndarray:
    """(N, T / EVERY) of the true return so far."""
    return scaled(pool.rewards.cumsum(axis=1)[:, ::EVERY])


def scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) or 1.0)
