"""What a reward model says of a pool of trajectories, and a pair of it as a number.

A pair of trajectories i < j is the code i·N + j: sets of asked pairs are sorted arrays, and a million are looked up at
once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PairKey = frozenset[str]


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


@dataclass(frozen=True)
class Choice:
    """A pair to ask, which rule chose it, and what is expected of it."""

    trajectories: tuple[str, str]
    strategy: str
    score: float
    """Its utility under that rule."""
    rewards: tuple[float, float] = (0.0, 0.0)
    information: float = 0.0
    """Bits that an answer is expected to tell about the reward: the members' mutual information, whatever the rule."""
    tie: float = 0.0
    """Probability of the answer `equal`; 0 where nobody has given it yet."""


def codes(pairs: np.ndarray, n: int) -> np.ndarray:
    """(C,) one number for each of (C, 2) pairs of N trajectories, the same for both orders."""
    return pairs.min(axis=1) * n + pairs.max(axis=1)


def without(pairs: np.ndarray, taken: np.ndarray, n: int) -> np.ndarray:
    """The pairs whose code is not among the sorted `taken`."""
    if not len(taken) or not len(pairs):
        return pairs
    own = codes(pairs, n)
    place = np.minimum(np.searchsorted(taken, own), len(taken) - 1)
    return pairs[taken[place] != own]


def pair_score(reward_a: float, reward_b: float) -> float:
    """A task's place by informativeness for Label Studio, which serves the lowest first: |r_a − r_b|."""
    return abs(reward_a - reward_b)
