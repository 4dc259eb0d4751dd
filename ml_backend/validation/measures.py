"""What a reward should not be had for: seconds, stillness, a closed gripper. Features and recordings in, (N,) each out.

Length is the span's, in seconds: sampled steps are capped at `reward.max_frames` and say nothing of longer ones.
Stillness is minus the speed of each thing that moves: the end effector, the state, the image, the actions. Actions that
are positions move by their differences, others (displacements, velocities) by their size; which they are is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml_backend.reward.features import Features
from preference.records import Trajectory

POSITION_LIKE = 0.8
"""A column of the actions is a position where it correlates with one of the state by more than this."""
LOOKED_AT = 200
"""Trajectories from which it is seen what the actions are."""


def measures(
    features: Sequence[Features],
    trajectories: Sequence[Trajectory],
    grippers: Sequence[np.ndarray] | None = None,
    effector_speeds: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Name → (N,); what is not known of every trajectory is left out.

    Args:
        grippers: Per trajectory (T,) in [0, 1], 1 = closed.
        effector_speeds: (N,) mean speed of the end effector, m/s.
    """
    seconds = np.array([t.end_s - t.start_s for t in trajectories])
    known = bool(np.isfinite(seconds).all() and (seconds > 0).all())
    steps = np.array([len(item) for item in features])
    per_step = seconds / steps if known else np.ones(len(steps))
    absolute = absolute_actions(features)
    actions, state, image = np.array([_motion(item, absolute) for item in features]).T
    found = {
        "length": seconds if known else None,
        "stillness_of_actions": -actions if not absolute.all() else -actions / per_step,
        "stillness_of_state": -state / per_step,
        "stillness_of_image": -image / per_step,
        "stillness_of_effector": None if effector_speeds is None else -effector_speeds,
    }
    if grippers is not None and all(len(own) and np.isfinite(own).all() for own in grippers):
        found["closed_gripper"] = np.array([float((own > 0.5).mean()) for own in grippers])
    return {name: own for name, own in found.items() if own is not None and np.isfinite(own).all() and np.ptp(own) > 0}


def absolute_actions(features: Sequence[Features]) -> np.ndarray:
    """(A,) bool: which columns of the actions are positions, as a column of the state is."""
    some = [features[i] for i in range(min(len(features), LOOKED_AT))]
    actions = np.concatenate([np.asarray(item.actions, np.float64) for item in some])
    state = np.concatenate([np.asarray(item.state, np.float64) for item in some])
    if not state.shape[1] or len(actions) < 3:
        return np.zeros(actions.shape[1], bool)
    scaled = [(part - part.mean(axis=0)) / np.maximum(part.std(axis=0), 1e-12) for part in (actions, state)]
    return np.abs(scaled[0].T @ scaled[1] / len(actions)).max(axis=1) > POSITION_LIKE


def _motion(item: Features, absolute: np.ndarray) -> tuple[float, float, float]:
    """Mean motion of actions, state and image from step to step."""
    actions, state, frames = (np.asarray(part, np.float64) for part in (item.actions, item.state, item.frames))
    moved = np.abs(actions[:, ~absolute]).mean() if not absolute.all() else _change(actions)
    return float(moved), _change(state), _change(frames)


def _change(values: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(values, axis=0), axis=1).mean()) if len(values) > 1 else 0.0
