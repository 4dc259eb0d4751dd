"""Scripted Meta-World episodes of very different skill, as the reward model sees them, without pictures.

Experts and novices of the sample pool, and a policy cloned from experts: a continuum from lost to flawless, all of them
trying. They are made once and kept in the folder.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np

from efficiency.quality import quality

SOURCES = ("expert", "novice", "policy_checkpoint_2")
EVERY = 10
"""Rows from one step that the model sees to the next: 2 a second."""


@dataclass(frozen=True)
class Episodes:
    """N episodes of one task."""

    actions: np.ndarray
    """(N, T, A) float32."""
    states: np.ndarray
    """(N, T, S) float32."""
    returns: np.ndarray
    """(N,) the simulator's."""
    quality: np.ndarray
    """(N,) what `robopref pool` makes of them."""
    known: list[Any]
    """What a dataset says of their success."""

    def features(self, rows: np.ndarray) -> list[Any]:
        from ml_backend.reward.features import Features

        none = np.zeros((self.actions.shape[1], 0), np.float16)
        return [Features(none, self.actions[i], self.states[i]) for i in rows]


def successes(arrived: np.ndarray, rows: int) -> list[Any]:
    """What a dataset says of the success of trajectories.

    Args:
        arrived: (N,) the first row in which each was done; `rows` = never.
    """
    from ml_backend.reward.dataset import Known

    steps = [min(-(-row // EVERY), (rows - 1) // EVERY) for row in arrived.tolist()]
    return [Known(row < rows, step if row < rows else None) for row, step in zip(arrived.tolist(), steps, strict=True)]


def episodes(folder: Path, task: str, count: int, seed: int) -> Episodes:
    """`count` of them in random order; read where they have been made."""
    path = folder / f"rollouts-{task}-{count}-{seed}.npz"
    if not path.exists():
        _make(path, task, count, seed)
    with np.load(path) as kept:
        states = kept["states"]
        computed = quality(states, kept["arrived"], successes=True)
        known = successes(kept["arrived"], states.shape[1])
        return Episodes(kept["actions"][:, ::EVERY], states[:, ::EVERY], kept["returns"], computed, known)


def _make(path: Path, task: str, count: int, seed: int) -> None:
    from sample_pool.rollout import make_environment, roll_out
    from sample_pool.sources import clone_behaviour, demonstrate, policies_for

    from preference.artifacts import replacing

    warnings.filterwarnings("ignore", message="Constant.s. may be too high")
    rng = np.random.default_rng([seed, *task.encode()])
    environment, variations = make_environment(task, seed)
    makers = policies_for(task, clone_behaviour(*demonstrate(environment, variations, task, rng), seed))
    made = []
    for number, source in enumerate(rng.permutation([SOURCES[i % len(SOURCES)] for i in range(count)])):
        variation = variations[int(rng.integers(len(variations)))]
        made.append(roll_out(environment, variation, makers[source](rng), task=task, source=source, seed=number))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            actions=np.stack([one.actions for one in made]),
            states=np.stack([one.states for one in made]),
            returns=np.array([float(one.rewards.sum()) for one in made]),
            arrived=np.array([one.arrived for one in made]),
        )
