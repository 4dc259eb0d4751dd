"""What a reward model says of a pool, and what is known of it to plan by: the input of every selection rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml_backend.reward.dataset import Pairs
    from ml_backend.reward.features import Features
    from ml_backend.reward.model import RewardModel

PairKey = frozenset[str]
FEWEST = 10
"""Labels, ties apart, below which nothing is planned by them."""


@dataclass(frozen=True)
class Design:
    """A Bayesian model of the labels by which `v_optimal` plans."""

    phi: np.ndarray
    """(N, P) features at the scale of their prior."""
    rewards: np.ndarray
    """(N,) the most likely rewards, linear in `phi`."""


@dataclass(frozen=True)
class PoolScores:
    """What a reward model says of N trajectories."""

    trajectory_ids: tuple[str, ...]
    task_types: tuple[str, ...]
    members: np.ndarray
    """(K, N) each member's reward."""
    phi: np.ndarray
    """(N, H) last-layer features, in which the mean reward is linear."""
    nu: np.ndarray | None = None
    """(K,) Davidson's ν of each member, where ties were learned by his model."""
    design: Design | None = None
    """None: the reward model's last layer takes its place."""

    def take(self, rows: Sequence[int]) -> PoolScores:
        """Of some of the trajectories."""
        ids, types = (tuple(names[i] for i in rows) for names in (self.trajectory_ids, self.task_types))
        plan = self.design and Design(self.design.phi[rows], self.design.rewards[rows])
        return PoolScores(ids, types, self.members[:, rows], self.phi[rows], self.nu, plan)

    @cached_property
    def rewards(self) -> np.ndarray:
        """(N,) the ensemble's mean."""
        return self.members.mean(axis=0)

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """The trajectories of each task type: rewards mean something within one of them only."""
        _, task = np.unique(np.asarray(self.task_types, dtype=object).astype(str), return_inverse=True)
        order = np.argsort(task, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(task[order])) + 1) if len(order) else []

    @cached_property
    def spread(self) -> np.ndarray:
        """(N,) standard deviation of the rewards within each trajectory's task type."""
        spread = np.empty(len(self.trajectory_ids))
        for rows in self.groups:
            spread[rows] = max(float(self.rewards[rows].std()), 1e-12)
        return spread

    def differences(self, pairs: np.ndarray) -> np.ndarray:
        """(K, C) each member's r_a − r_b of (C, 2) pairs."""
        return self.members[:, pairs[:, 0]] - self.members[:, pairs[:, 1]]

    def rows_of(self, keys: Collection[PairKey]) -> np.ndarray:
        """(M, 2) those of the pairs whose trajectories are both here, the lower index first."""
        place = {name: row for row, name in enumerate(self.trajectory_ids)}
        found = [rows for key in keys if len(rows := [place[name] for name in key if name in place]) == 2]
        return np.sort(np.array(found, dtype=np.int64).reshape(-1, 2), axis=1)


def fit_design(model: RewardModel, features: Sequence[Features], pairs: Pairs, slip: float, seed: int) -> Design | None:
    """What a small Bayesian model of the labels knows of the pool, so that `v_optimal` can tell what is worth asking.

    A Bradley-Terry model on summaries of the trajectories, linear and radial, and on progress where the reward counts
    it, whose posterior is exact enough to plan by and takes a second to fit. It is never released and scores nothing:
    the reward model is what learns from the answers. It chooses better pairs for the network than the network's own
    last layer does.

    Args:
        model: Normalizes the inputs and says the progress, and is not asked for anything else.
        pairs: The labels, without test pairs: what is asked next must not depend on these.
        slip: Probability that an answer says the opposite.

    Returns:
        None where there are too few labels.
    """
    import torch

    from ml_backend.reward.evidence import Answers, fit
    from ml_backend.reward.linear import EITHER
    from ml_backend.reward.summary import measured, unit_size

    if (pairs.label != 0.5).sum() < FEWEST:
        return None
    rng = np.random.default_rng([seed, 3])
    raw = torch.from_numpy(model.summaries(features))
    compared = np.unique(np.concatenate([pairs.a, pairs.b]))
    part = measured(raw, compared, model.spec.relative, 1, rng, kernel=True)
    phi = part.features(raw).double().numpy()
    phi *= unit_size(phi, part.blocks)
    if model.spec.progress:
        phi = np.column_stack([phi, model.mean_progress(features)])
    phi -= phi.mean(axis=0)
    count = len(pairs)
    answers = Answers(np.arange(count), pairs.label, pairs.weight, np.full(count, slip))
    found = fit(phi[pairs.a] - phi[pairs.b], answers, part.blocks, [EITHER] * model.spec.progress)
    return Design(phi * np.sqrt(found.variance), phi @ found.mean)


def pair_score(reward_a: float, reward_b: float) -> float:
    """A task's place by informativeness for Label Studio, which serves the lowest first: |r_a − r_b|."""
    return abs(reward_a - reward_b)
