"""Policies from pictures: a pool with pictures and weights in, how often a policy arrives that is never told the state.

It gets what a robot with a camera has: at each row where its hand is and how far its gripper is open, and the newest
picture, two a second as the pool keeps them, through the reward model's frozen encoder and to as many principal
components as the reward model sees. Network and training are those of `cloning`. One that gets no picture says how much
of this is seeing. Fewer starts are tested, since pictures cost more than all else together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sample_pool.rollout import ROWS, Camera, roll_out

from policies.cloning import Policy, clone
from policies.pool import EVERY, SIZE, Pool, encoder_of

SEEN_STARTS = 20
HAND = 4
"""The state's first values, which a robot knows by itself: three of the hand, and the gripper's opening."""


class Sight:
    """The encoder's features of a picture, reduced to the first principal components over the pool."""

    def __init__(self, frames: np.ndarray, components: int) -> None:
        """(N, T / EVERY, D) frames; 0 components: blind."""
        flat = frames.reshape(-1, frames.shape[2]).astype(np.float64)
        self.mean = flat.mean(axis=0)
        _, axes = np.linalg.eigh((flat - self.mean).T @ (flat - self.mean))
        self.axes = axes[:, ::-1][:, :components]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(…, D) → (…, components)."""
        return (frames - self.mean) @ self.axes


def clone_seeing(pool: Pool, sight: Sight, rows: np.ndarray, seed: int) -> Policy:
    """(HAND + components,) → action.

    Args:
        rows: (N·T,) what each row counts.
    """
    newest = np.repeat(sight(pool.frames), EVERY, axis=1)
    inputs = np.concatenate([pool.states[:, :, :HAND], newest], axis=2).astype(np.float32)
    return clone(inputs.reshape(-1, inputs.shape[2]), pool.actions.reshape(-1, pool.actions.shape[2]), rows, seed)


def arrivals_seeing(environment: Any, variations: list[Any], policy: Policy, sight: Sight, task: str) -> list[int]:
    """As `cloning.arrivals`, from the first SEEN_STARTS starts."""
    components = sight.axes.shape[1]
    camera, encoder = (Camera(environment, SIZE), encoder_of()) if components else (None, None)

    def arrival(number: int) -> int:
        seen, row = np.zeros(components), 0

        def look(data: Any) -> np.ndarray:
            nonlocal seen, row
            if camera and encoder and row % EVERY == 0:
                seen = sight(encoder.encode(camera(data)[None])[0])
            row += 1
            return np.zeros(0, np.uint8)

        def drive(observation: np.ndarray) -> np.ndarray:
            return policy(np.concatenate([observation[:HAND], seen]))

        about: dict[str, Any] = {"task": task, "source": "cloned", "seed": number, "make_frame": look}
        one = roll_out(environment, variations[number], drive, **about, until_done=True)
        return len(one.success) - 1 if one.success[-1] else ROWS

    found = [arrival(number) for number in range(min(SEEN_STARTS, len(variations)))]
    if camera:
        camera.close()
    return found
