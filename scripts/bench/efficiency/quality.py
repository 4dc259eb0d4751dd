"""A pool's quality as `robopref pool` computes it, of Meta-World episodes; never the return."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np
from sample_pool.rollout import FPS


def quality(states: np.ndarray, arrived: np.ndarray, *, successes: bool) -> np.ndarray:
    """(N,) `importer.pool`'s score; without successes a trajectory's end is not known either.

    Args:
        states: (N, T, S), every row of the episodes.
        arrived: (N,) the first row in which the task is done; T = never.
    """
    from importer.pool.quality import grasp_stability, path_efficiency, score, smoothness
    from preference.records import Trajectory

    rows, made = states.shape[1], []
    for i, first in enumerate(arrived.tolist()):
        end = min(first + 1, rows) if successes else rows
        hand, gripper = states[i, :end, :3], np.clip(1.0 - states[i, :end, 3], 0.0, 1.0)
        known = first < rows if successes else None
        made.append(
            Trajectory(
                str(i), "bench", i, "bench", "bench", success=known, smoothness=smoothness(hand, FPS),
                path_efficiency=path_efficiency(hand), grasp_stability=grasp_stability(gripper), duration_s=end / FPS,
            )
        )  # fmt: skip
    return score(made)
