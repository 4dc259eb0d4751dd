"""Can the reward be had without the behaviour? What it goes with, and what it says when nothing but that is changed.

- Correlations: does the reward still follow a trajectory's length, its stillness, or how long the gripper was closed,
  when the ground-truth quality is held constant?
- Counterfactuals: the same trajectory with the robot standing still at the end, slowed down, with its last third cut
  off, or with the gripper closed throughout. Nobody would call any of these better, so a reward that rises can be had
  for nothing. The change is given in standard deviations of the reward over the pool.

Each fires beyond `HACKING`. Rewards and features come in, figures go out; `proposals` finds pairs that teach otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.validation.ground_truth import ground_truth, groups, partial_correlation
from preference.records import Trajectory

if TYPE_CHECKING:
    from ml_backend.reward.features import Features

    Score = Callable[[Sequence[Features]], np.ndarray]

HACKING = 0.3
"""A probe fires when reward still goes with it by more than this partial correlation, or rises by more than so many
standard deviations when nothing but that is changed."""
MOST = 400
"""Trajectories that are changed; more make the intervals narrower than anybody needs."""
DRAWS = 1000
GRIPPER_LIKE = 0.8
"""A column is the gripper's where its steps correlate with the gripper's position by more than this."""


@dataclass(frozen=True)
class GripperColumn:
    """A column of the inputs that moves with the gripper."""

    part: str
    """`actions` or `state`."""
    index: int
    closed: float
    """Its median where the gripper is closed."""


def measures(features: Sequence[Features], grippers: Sequence[np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """What a reward should not be had for, (N,) each.

    `length`: sampled steps; `stillness`: minus the mean size of the actions; `closed_gripper`: share of the steps with
    the gripper closed, where there is a gripper.

    Args:
        grippers: Per trajectory (T,) in [0, 1], 1 = closed.
    """
    found = {
        "length": np.array([len(item) for item in features], float),
        "stillness": np.array([-float(np.abs(np.asarray(item.actions, np.float64)).mean()) for item in features]),
    }
    if grippers is not None and all(len(own) and np.isfinite(own).all() for own in grippers):
        found["closed_gripper"] = np.array([float((own > 0.5).mean()) for own in grippers])
    return found


def correlations(
    rewards: np.ndarray, trajectories: Sequence[Trajectory], found: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Partial rank correlation of the reward with each measure, given the ground truth."""
    truth = ground_truth(trajectories)
    result = {}
    for name, measure in found.items():
        value = partial_correlation(rewards, measure, truth, trajectories)
        result[name] = {"partial_correlation": value, "threshold": HACKING, "fires": bool(abs(value) > HACKING)}
    return result


def counterfactuals(
    score: Score,
    features: Sequence[Features],
    trajectories: Sequence[Trajectory],
    rewards: np.ndarray,
    columns: Sequence[GripperColumn],
    rng: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    """The mean change in reward by each change of the trajectory, with its 95 % bootstrap interval."""
    rows = np.sort(rng.permutation(len(features))[:MOST])
    spread = np.ones(len(features))
    for own in groups(trajectories).values():
        spread[own] = max(float(rewards[own].std()), 1e-9)
    changes: dict[str, Callable[[Features], Features]] = {
        "still_frames_added": still_frames_added,
        "slowed_down": slowed_down,
        "cut": cut,
    }
    if columns:
        changes["gripper_closed"] = lambda item: gripper_closed(item, columns)
    result = {}
    for name, change in changes.items():
        change_sd = (score([change(features[i]) for i in rows]) - rewards[rows]) / spread[rows]
        draws = rng.choice(change_sd, (DRAWS, len(rows))).mean(axis=1)
        low, high = np.percentile(draws, [2.5, 97.5])
        mean = float(change_sd.mean())
        result[name] = {
            "mean_change_sd": mean, "low": float(low), "high": float(high), "trajectories": len(rows),
            "threshold": HACKING, "fires": bool(mean > HACKING and low > 0),
        }  # fmt: skip
    return result


def still_frames_added(item: Features) -> Features:
    """The robot stays where it is for half as long again: the last step repeated, without motion."""
    extra = -(-len(item) // 2)
    rows = np.concatenate([np.arange(len(item)), np.full(extra, len(item) - 1)])
    actions = np.array(item.actions[rows])
    actions[len(item) :] = 0.0
    return _taken(item, rows, actions=actions)


def slowed_down(item: Features) -> Features:
    """Every step twice."""
    return _taken(item, np.repeat(np.arange(len(item)), 2))


def cut(item: Features) -> Features:
    """Without its last third."""
    return _taken(item, np.arange(max(1, len(item) - len(item) // 3)))


def gripper_closed(item: Features, columns: Sequence[GripperColumn]) -> Features:
    """The gripper's columns say closed throughout; the frames stay as they are."""
    parts = {name: np.array(getattr(item, name)) for name in ("actions", "state")}
    for column in columns:
        parts[column.part][:, column.index] = column.closed
    return _taken(item, np.arange(len(item)), **parts)


def gripper_columns(features: Sequence[Features], grippers: Sequence[np.ndarray]) -> list[GripperColumn]:
    """The columns of actions and state that move with the gripper; found by measure, whatever they are called."""
    chosen = [(f, g) for f, g in zip(features, grippers, strict=True) if len(f) == len(g) and np.isfinite(g).all()]
    if not chosen:
        return []
    position = np.concatenate([g for _, g in chosen])
    if position.std() < 1e-6:
        return []
    found = []
    for part in ("actions", "state"):
        values = np.concatenate([np.asarray(getattr(f, part), np.float64) for f, _ in chosen])
        for index in np.flatnonzero(values.std(axis=0) > 1e-9):
            if abs(np.corrcoef(values[:, index], position)[0, 1]) > GRIPPER_LIKE:
                found.append(GripperColumn(part, int(index), float(np.median(values[position > 0.5, index]))))
    return found


def _taken(item: Features, rows: np.ndarray, **changed: np.ndarray) -> Features:
    from ml_backend.reward.features import Features

    parts = {name: np.asarray(getattr(item, name)) for name in ("frames", "actions", "state")}
    return Features(**{name: changed.get(name, values[rows]) for name, values in parts.items()})
