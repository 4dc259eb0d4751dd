"""What the rewards are held against: the simulator's return or the measured quality, within each task type."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from preference.records import Trajectory


def ground_truth(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """(N,) the simulator's return where every trajectory has one, else the quality."""
    returns = np.array([t.true_return for t in trajectories])
    return returns if np.isfinite(returns).all() else np.array([t.quality for t in trajectories])


def groups(trajectories: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """Task type → rows; rewards mean something within one of them only."""
    tasks = np.array([t.task_type for t in trajectories])
    return {task: np.flatnonzero(tasks == task) for task in sorted(set(tasks.tolist()))}


def standardized(values: np.ndarray, trajectories: Sequence[Trajectory]) -> np.ndarray:
    """(N,) mean 0 and standard deviation 1 within each task type; 0 where all are alike."""
    result = np.zeros(len(values))
    for rows in groups(trajectories).values():
        spread = float(values[rows].std())
        result[rows] = (values[rows] - values[rows].mean()) / spread if spread > 0 else 0.0
    return result


def partial_correlation(
    rewards: np.ndarray, measure: np.ndarray, truth: np.ndarray, trajectories: Sequence[Trajectory]
) -> float:
    """Of the ranks within each task type, the truth's ranks held constant; 0 where the measure does not vary."""
    from scipy.stats import rankdata

    columns = []
    for values in (rewards, measure, truth):
        ranks = np.zeros(len(values))
        for rows in groups(trajectories).values():
            own = rankdata(np.nan_to_num(values[rows]))
            ranks[rows] = own - own.mean()
        columns.append(ranks)
    a, b, given = columns
    if given @ given > 0:
        a, b = (x - given * (x @ given) / (given @ given) for x in (a, b))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 1e-9 else 0.0
