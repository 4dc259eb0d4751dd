"""Answers and rewards: a pool in, 200 noisy answers and each model's rewards out. They are asked as a project asks them
with the protocol's first batch.

The loop is that of `efficiency.course`, which is the product's: a stratified first batch, then a round with the default
strategy and its audit pairs. The teacher is `noisy`: β = 3 per standard deviation of the true return.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from efficiency.course import answers, fit, next_pairs, stratified_pairs
from rewards.peers import Given, kernel, linear, network

from policies.pool import Pool

ANSWERS, FIRST, TEACHER = 200, 160, "stochastic"
PEERS = {"kernel": kernel, "linear": linear, "imitation's network": network}


@dataclass(frozen=True)
class Asked:
    """Answers, and the model that was trained on them."""

    pairs: np.ndarray
    """(M, 2) episodes of the pool."""
    labels: np.ndarray
    """(M,) 1.0 where the first is better."""
    model: Any

    def rewards(self, features: list[Any]) -> np.ndarray:
        return self.model.score(features)[0]


def asked_of(folder: Path, task: str, pool: Pool, seed: int, pictures: bool = False) -> Asked:
    """Read where it has been done."""
    from ml_backend.reward.model import RewardModel
    from preference.artifacts import replacing

    path = folder / f"asked-{task}-{seed}{'-pictures' if pictures else ''}"
    if not path.exists():
        found = ask(pool, seed, pictures)
        with replacing(path) as temporary:
            temporary.mkdir()
            found.model.save(temporary / "model.pt")
            np.savez(temporary / "answers.npz", pairs=found.pairs, labels=found.labels)
    with np.load(path / "answers.npz") as kept:
        return Asked(kept["pairs"], kept["labels"], RewardModel.load(path / "model.pt"))


def ask(pool: Pool, seed: int, pictures: bool = False) -> Asked:
    """As many answers as ANSWERS."""
    features, truth = pool.features(pictures), pool.returns
    rng, said = np.random.default_rng([seed, 11]), np.random.default_rng([seed, 12])
    pairs = stratified_pairs(truth, FIRST, rng)
    labels = answers(TEACHER, truth, pairs, said)
    return ask_more(
        Asked(pairs, labels, fit(features, pairs, labels, seed)), features, truth, ANSWERS - len(pairs), seed
    )


def ask_more(asked: Asked, features: list[Any], truth: np.ndarray, count: int, seed: int) -> Asked:
    """One round: `count` pairs more, by the default strategy, and the model trained again."""
    from preference.config import Active

    rng, said = np.random.default_rng([seed, 13, len(truth)]), np.random.default_rng([seed, 14, len(truth)])
    new = next_pairs(asked.model, features, asked.pairs, asked.labels, count, Active().strategy, seed, rng)
    pairs = np.concatenate([asked.pairs, new])
    labels = np.concatenate([asked.labels, answers(TEACHER, truth, new, said)])
    return Asked(pairs, labels, fit(features, pairs, labels, seed))


def peer_rewards(name: str, pool: Pool, asked: Asked, seed: int) -> np.ndarray:
    """From the same answers."""
    a, b = asked.pairs.T
    return PEERS[name](Given(pool.inputs(), a, b, asked.labels, np.arange(len(pool.returns)), seed))
