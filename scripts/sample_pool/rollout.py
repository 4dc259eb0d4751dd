"""Run one policy in one Meta-World task for a fixed number of steps, and keep what a robot's recorder would.

Every episode has the same length, whether the task was done early or never: returns are comparable only so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

STEPS_PER_ROW = 2
"""Environment steps per recorded row; the action held over them is recorded once."""
FPS = 20
"""Rows per second of playback. The simulator makes 80 steps a second, so playback is at half its speed: at full
speed an expert is done in a second, too fast for people to judge."""
ROWS = 150
STATE_NAMES = (
    "hand_x", "hand_y", "hand_z", "gripper_opening",
    "object_x", "object_y", "object_z", "object_qw", "object_qx", "object_qy", "object_qz",
    "goal_x", "goal_y", "goal_z",
)  # fmt: skip
ACTION_NAMES = ("hand_dx", "hand_dy", "hand_dz", "gripper_close")
STATE_COLUMNS = [*range(11), 36, 37, 38]
"""Of an observation, in the order of STATE_NAMES."""

Policy = Callable[[np.ndarray], np.ndarray]
"""Observation (39,) → action (4,) in [-1, 1]."""
MakeFrame = Callable[[Any], np.ndarray]
"""Simulator → (H, W, 3) uint8."""


class Environment(Protocol):
    """What we use of a Meta-World environment."""

    model: Any
    data: Any

    def set_task(self, task: Any) -> None: ...
    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]: ...
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]: ...


@dataclass(frozen=True)
class Rollout:
    """One recorded episode of T rows."""

    task: str
    source: str
    states: np.ndarray
    """(T, 14) float32, named by STATE_NAMES, before the row's action."""
    actions: np.ndarray
    """(T, 4) float32 in [-1, 1]."""
    rewards: np.ndarray
    """(T,) float32, summed over the row's steps."""
    success: np.ndarray
    """(T,) bool, whether the simulator calls the task done after the row's steps."""
    frames: np.ndarray
    """(T, H, W, 3) uint8, before the row's action; T = 0 without video."""

    @property
    def gripper(self) -> np.ndarray:
        """(T,) float32, 1 = closed."""
        return np.clip(1.0 - self.states[:, 3], 0.0, 1.0)

    @property
    def arrived(self) -> int:
        """The first row in which the task is done; T = never."""
        return int(self.success.argmax()) if self.success.any() else len(self.success)


def make_environment(task: str, seed: int) -> tuple[Environment, list[Any]]:
    """The environment of a Meta-World v3 task, and its 50 variations of object and goal positions."""
    import metaworld

    benchmark = metaworld.MT1(task, seed=seed)
    return benchmark.train_classes[task](), list(benchmark.train_tasks)


def roll_out(
    environment: Environment,
    variation: Any,
    policy: Policy,
    *,
    task: str,
    source: str,
    seed: int,
    make_frame: MakeFrame | None = None,
    until_done: bool = False,
) -> Rollout:
    """One episode of ROWS rows; `make_frame` is asked for a picture before each row.

    Args:
        until_done: End with the row in which the task is done, which is enough to count successes.
    """
    environment.set_task(variation)
    observation, _ = environment.reset(seed=seed)
    states, actions, rewards, success, frames = [], [], [], [], []
    for _ in range(ROWS):
        states.append(observation[STATE_COLUMNS])
        if make_frame is not None:
            frames.append(make_frame(environment.data))
        action = np.clip(policy(observation), -1.0, 1.0).astype(np.float32)
        total, done = 0.0, False
        for _ in range(STEPS_PER_ROW):
            observation, reward, _, _, info = environment.step(action)
            total += float(reward)
            done |= bool(info["success"])
        actions.append(action)
        rewards.append(total)
        success.append(done)
        if until_done and done:
            break
    return Rollout(
        task,
        source,
        np.asarray(states, np.float32),
        np.asarray(actions, np.float32),
        np.asarray(rewards, np.float32),
        np.asarray(success, bool),
        np.asarray(frames, np.uint8),
    )


class Camera:
    """Off-screen pictures of the table from the front right; without shadows, reflections and multisampling, which
    cost most of the time on a CPU."""

    def __init__(self, environment: Environment, size: int) -> None:
        import mujoco as imported

        mujoco: Any = imported  # its names come from a compiled module that type checkers cannot read

        model = environment.model
        model.vis.quality.offsamples = 0
        self._renderer = mujoco.Renderer(model, size, size)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = 0
        self._view = mujoco.MjvCamera()
        self._view.lookat = np.array([0.0, 0.66, 0.12])
        self._view.distance, self._view.azimuth, self._view.elevation = 1.15, 130.0, -28.0

    def __call__(self, data: Any) -> np.ndarray:
        self._renderer.update_scene(data, camera=self._view)
        return self._renderer.render().copy()

    def close(self) -> None:
        self._renderer.close()
