"""Pools as a team has them: few experts, many novices, policies that are half trained, and much that is useless.

A task and a seed in, 200 recorded episodes out; everything but the task is fresh for another seed: places of the
objects, the half-trained policies, the hands of the novices. Made once and kept in the folder.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from make_sample_pool import check
from sample_pool.rollout import ROWS, Camera, Rollout, make_environment, roll_out
from sample_pool.sources import clone_behaviour, demonstrate, policies_for

SOURCES = {"expert": 8, "novice": 80, "policy_checkpoint_1": 29, "policy_checkpoint_2": 29, "random": 54}
"""Source → episodes."""
EVERY = 10
"""Rows from one step that the reward model sees to the next: 2 a second."""
SIZE = 112
"""Pixels of a side."""


@dataclass(frozen=True)
class Pool:
    """N episodes of one task, T rows each."""

    states: np.ndarray
    """(N, T, 14) float32."""
    actions: np.ndarray
    """(N, T, 4) float32."""
    rewards: np.ndarray
    """(N, T) float32, the simulator's."""
    arrived: np.ndarray
    """(N,) int64, the first row in which the task is done; T = never."""
    source: np.ndarray
    """(N,) who drove."""
    frames: np.ndarray
    """(N, T / EVERY, D) float16, the encoder's features; D = 0 without pictures."""

    @property
    def returns(self) -> np.ndarray:
        """(N,)"""
        return self.rewards.sum(axis=1).astype(np.float64)

    def features(self, pictures: bool = False) -> list[Any]:
        """As the reward model sees them: actions and state, or pictures and actions."""
        from ml_backend.reward.features import Features

        frames = self.frames if pictures else self.frames[:, :, :0]
        state = self.states[:, ::EVERY, : 0 if pictures else None]
        return [Features(*one) for one in zip(frames, self.actions[:, ::EVERY], state, strict=True)]

    def inputs(self) -> np.ndarray:
        """(N, T / EVERY, 18) actions and state, as a peer sees them."""
        return np.concatenate([self.actions, self.states], axis=2)[:, ::EVERY]

    def shares(self, rows: np.ndarray) -> dict[str, float]:
        """What a policy learns from: `successful`, the share of rows from episodes that succeed; `the way`, the same of
        the rows before success alone, from which it learns how to get there.

        Args:
            rows: (N·T,) what each row counts.
        """
        counts = rows.reshape(len(self.arrived), ROWS)
        good = self.arrived < ROWS
        before = counts * (np.arange(ROWS) < self.arrived[:, None])
        found = {"successful": counts[good].sum() / counts.sum(), "the way": before[good].sum() / before.sum()}
        return {name: round(float(share), 3) for name, share in found.items()}

    def with_more(self, other: Pool) -> Pool:
        """Both, the other's episodes last."""
        return Pool(**{name: np.concatenate([value, getattr(other, name)]) for name, value in vars(self).items()})


class Eye:
    """Keeps the features of every tenth picture of an episode; without an encoder it sees nothing."""

    def __init__(self, environment: Any, encoder: Any) -> None:
        self.encoder, self.row, self.kept = encoder, 0, []
        self.camera = Camera(environment, SIZE) if encoder else None

    def __call__(self, data: Any) -> np.ndarray:
        if self.camera is not None and self.row % EVERY == 0:
            self.kept.append(self.camera(data))
        self.row += 1
        return np.zeros(0, np.uint8)

    def features(self) -> np.ndarray:
        """(T / EVERY, D) float16 of the episode that has ended."""
        pictures, self.kept, self.row = self.kept, [], 0
        return self.encoder.encode(np.stack(pictures)) if pictures else np.zeros((ROWS // EVERY, 0), np.float16)

    def close(self) -> None:
        if self.camera is not None:
            self.camera.close()


def check_tasks(tasks: list[str], pictures: bool) -> None:
    """
    Raises:
        UserError: Meta-World is not installed, or has no such task.
    """
    check(tasks, video=pictures)


def gathered(rollouts: list[Rollout], frames: list[np.ndarray]) -> Pool:
    return Pool(
        np.stack([one.states for one in rollouts]),
        np.stack([one.actions for one in rollouts]),
        np.stack([one.rewards for one in rollouts]),
        np.array([one.arrived for one in rollouts]),
        np.array([one.source for one in rollouts]),
        np.stack(frames),
    )


def pool_of(folder: Path, task: str, seed: int, pictures: bool) -> Pool:
    """Read where it has been made."""
    from preference.artifacts import replacing

    path = folder / f"pool-{task}-{seed}{'-pictures' if pictures else ''}.npz"
    if not path.exists():
        made = _made(task, seed, pictures)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(made))  # pyright: ignore[reportArgumentType]
    with np.load(path) as kept:
        return Pool(**kept)


def _made(task: str, seed: int, pictures: bool) -> Pool:
    """The same episodes with and without pictures."""
    warnings.filterwarnings("ignore", message="Constant.s. may be too high")
    rng = np.random.default_rng([seed, *task.encode()])
    environment, variations = make_environment(task, seed)
    makers = policies_for(task, clone_behaviour(*demonstrate(environment, variations, task, rng), seed))
    eye = Eye(environment, encoder_of() if pictures else None)
    made, frames = [], []
    order = rng.permutation(np.repeat(list(SOURCES), list(SOURCES.values())))
    for number, source in enumerate(order):
        variation = variations[int(rng.integers(len(variations)))]
        policy = makers[source](rng)
        made.append(roll_out(environment, variation, policy, task=task, source=source, seed=number, make_frame=eye))
        frames.append(eye.features())
    eye.close()
    return gathered(made, frames)


def encoder_of() -> Any:
    """The one that needs no model hub, as the demo takes it."""
    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import NETWORK, resolve_weights

    return load(resolve_weights(NETWORK, "imagenet"), threads=1)
