"""Models trained on a part of the pairs and judged by the others: several at once, each in a process of its own.

One training keeps one core busy, and validation takes many. Where they run changes no weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml_backend.reward.dataset import Pairs
from ml_backend.reward.train import Split, train_model
from preference.config import Reward
from preference.errors import UserError
from preference.work import HERE, Workers, parallel_map

if TYPE_CHECKING:
    from ml_backend.reward.features import Features
    from ml_backend.reward.model import ModelSpec

IN_PROCESS = 250_000
"""Pairs times epochs, over all trainings, below which processes save less than it takes to start them: about a minute
of one core."""


@dataclass(frozen=True)
class Fold:
    """What to train on, what to stop by, what to judge by, and the seed."""

    number: int
    split: Split
    seed: int


@dataclass(frozen=True)
class _Fit:
    features: Sequence[Features]
    pairs: Pairs
    spec: ModelSpec
    reward: Reward

    def __call__(self, fold: Fold) -> tuple[int, np.ndarray]:
        trained = train_model(self.features, self.pairs, fold.split, self.spec, self.reward, seed=fold.seed)
        test = self.pairs.take(fold.split.test)
        used = np.unique(np.concatenate([test.a, test.b]))
        rewards, _ = trained.model.score([self.features[i] for i in used])
        a, b = np.searchsorted(used, test.a), np.searchsorted(used, test.b)
        return fold.number, rewards[a] - rewards[b]


def fit_folds(
    features: Sequence[Features],
    pairs: Pairs,
    spec: ModelSpec,
    reward: Reward,
    splits: Sequence[Split],
    seeds: Sequence[int],
    *,
    workers: Workers = HERE,
    description: str = "Validating",
) -> list[np.ndarray]:
    """r_a − r_b of each split's test pairs, by a model that was trained on its training pairs.

    Raises:
        UserError: what `train_model` raises.
    """
    folds = [Fold(n, split, seed) for n, (split, seed) in enumerate(zip(splits, seeds, strict=True))]
    few = sum(len(fold.split.train) for fold in folds) * reward.epochs < IN_PROCESS
    found: dict[int, np.ndarray] = {}
    for _, result in parallel_map(
        _Fit(features, pairs, spec, reward), folds, workers=HERE if few else workers, description=description
    ):
        if isinstance(result, UserError):
            raise result
        number, differences = result
        found[number] = differences
    return [found[fold.number] for fold in folds]
