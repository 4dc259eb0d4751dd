"""Where the action of an episode begins and where it is over: the span that a clip shows.

An `Episode` goes in, times in seconds come out.

The first non-trivial action is the first row from which, for at least 0.1 s on end, an action *or* the robot's state
differs from its start by more than both 5 % of the column's range and five times the column's noise.

- From its start, not from zero: an absolute position command or a biased sensor has a constant offset.
- The state too: a constant velocity command never differs from its start, but the robot does move.
- Noise is measured where motion is not: the second difference of a smooth movement is small, that of noise is not.
- For 0.1 s on end: a single outlier is not an action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from importer.pool.episode import Episode

SUSTAINED_S = 0.1
REST_S = 0.25
"""The start that the rest is compared with is the median over so long."""
RANGE_SHARE = 0.05
NOISE_SDS = 5.0


@dataclass(frozen=True)
class Trim:
    """Times in seconds from the first frame."""

    first_action_s: float
    completion_s: float
    """When the task was first done; the end of the episode where it never was, or where that is unknown."""
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.completion_s - self.first_action_s


def trim(episode: Episode, before_s: float, after_s: float) -> Trim:
    """The span from `before_s` before the first action to `after_s` after completion, inside the episode."""
    moving = first_action_row(episode.actions, episode.state if episode.state.size else episode.effector, episode.fps)
    done = np.flatnonzero(episode.success_rows)
    first = float(episode.time[moving])
    completion = max(first, float(episode.time[done[0]]) if len(done) else episode.length_s)
    return Trim(
        first_action_s=first,
        completion_s=completion,
        start_s=max(0.0, first - before_s),
        end_s=min(episode.length_s, completion + after_s),
    )


def first_action_row(actions: np.ndarray, state: np.ndarray, fps: float) -> int:
    """Index of the first row with a non-trivial action; 0 where the robot never acts.

    Args:
        actions: (T, A).
        state: (T, S), S may be 0; columns with nan are left aside.
        fps: Rows per second.
    """
    signals = np.hstack([actions, state]).astype(np.float64)
    signals = signals[:, np.isfinite(signals).all(axis=0)]
    rows = len(signals)
    sustained = min(rows, max(2, math.ceil(SUSTAINED_S * fps)))
    if rows < 3 or signals.shape[1] == 0:
        return 0
    rest = np.median(signals[: max(3, math.ceil(REST_S * fps))], axis=0)
    smooth = _median_of_three(signals)
    span = smooth.max(axis=0) - smooth.min(axis=0)
    rounding = 1e-6 * (1.0 + np.abs(rest))
    threshold = np.maximum(np.maximum(RANGE_SHARE * span, NOISE_SDS * noise(signals)), rounding)
    active = (np.abs(smooth - rest) > threshold).any(axis=1)
    held = np.convolve(active, np.ones(sustained), mode="valid") >= sustained - 0.5
    return int(np.argmax(held)) if held.any() else 0


def noise(signals: np.ndarray) -> np.ndarray:
    """(T, D) → (D,): standard deviation of each column's noise, from its second differences.

    For white noise of deviation s these have deviation √6 s; the median keeps the few of a real movement out.
    """
    if len(signals) < 3:
        return np.zeros(signals.shape[1])
    bends = np.abs(np.diff(signals, n=2, axis=0))
    return 1.4826 * np.median(bends, axis=0) / math.sqrt(6.0)


def _median_of_three(signals: np.ndarray) -> np.ndarray:
    """Each row replaced by the median of itself and its neighbours: single outliers vanish, edges stay."""
    padded = np.concatenate([signals[:1], signals, signals[-1:]])
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
