"""How good a trajectory is: the single measures, one score from them, tiers and quartiles.

| measure | unit | better | source |
| --- | --- | --- | --- |
| success | yes/no | yes | the dataset |
| path efficiency | ratio, (0, 1] | higher | straight-line over travelled distance |
| smoothness (SPARC) | none, ≤ 0 | higher | Balasubramanian et al. 2015, J. NeuroEng. Rehabil. 12:112 |
| grasp stability | ratio, (0, 1] | higher | 1 / (1 + times the gripper opened and closed again while holding) |
| duration | s | lower | first action to completion or time-out |

A measure whose input is missing is nan, never 0. The score uses ranks within a task type, so units do not matter and
one wild value cannot outweigh the rest; only its order within the task type means anything.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from preference.records import Trajectory

MIN_FOR_QUARTILES = 4
HOLDING, RELEASED = 0.6, 0.4
"""The gripper counts as closed above the one and as open below the other, so that noise around ½ is ignored."""


def path_efficiency(effector: np.ndarray) -> float:
    """Straight-line over travelled distance.

    Args:
        effector: (T, 3), from the first action to completion.
    """
    if len(effector) < 2 or not np.isfinite(effector).all():
        return math.nan
    travelled = float(np.linalg.norm(np.diff(effector, axis=0), axis=1).sum())
    straight = float(np.linalg.norm(effector[-1] - effector[0]))
    return straight / travelled if travelled > 1e-9 else math.nan


def sparc(speed: np.ndarray, fps: float, *, cutoff_hz: float = 10.0, floor: float = 0.05, pad: int = 4) -> float:
    """Spectral arc length of a speed profile: the more a movement stops and starts, the longer (more negative).

    Args:
        speed: (T,), any unit: the spectrum is divided by its value at 0 Hz.
        fps: Samples per second.
        cutoff_hz: No human or robot movement has content above it.
        floor: Frequencies above the last one with this share of the peak are noise.
        pad: The spectrum is sampled 2^pad times as finely as the data need.
    """
    if len(speed) < 3 or not np.isfinite(speed).all() or not np.any(speed):
        return math.nan
    count = int(2 ** (math.ceil(math.log2(len(speed))) + pad))
    frequency = np.arange(count) * fps / count
    spectrum = np.abs(np.fft.fft(speed, count))
    spectrum /= spectrum.max()
    below = frequency <= min(cutoff_hz, fps / 2)
    frequency, spectrum = frequency[below], spectrum[below]
    last = int(np.flatnonzero(spectrum >= floor)[-1])
    frequency, spectrum = frequency[: last + 1], spectrum[: last + 1]
    if last == 0:
        return 0.0
    steps = np.diff(frequency) / (frequency[-1] - frequency[0])
    return -float(np.hypot(steps, np.diff(spectrum)).sum())


def smoothness(positions: np.ndarray, fps: float) -> float:
    """SPARC of the speed along `positions` (T, D): the end effector's path, or the joints' where that is unknown."""
    if len(positions) < 4 or positions.shape[1] == 0 or not np.isfinite(positions).all():
        return math.nan
    return sparc(np.linalg.norm(np.diff(positions, axis=0), axis=1) * fps, fps)


def grasp_stability(gripper: np.ndarray) -> float:
    """1 / (1 + n), n = how often the gripper opened and closed again between its first and its last grasp.

    Args:
        gripper: (T,) in [0, 1], 1 = closed. A gripper that never closes has no grasp to judge: nan.
    """
    if not len(gripper) or not np.isfinite(gripper).all():
        return math.nan
    clear = gripper[(gripper > HOLDING) | (gripper < RELEASED)] > 0.5
    closings = int(np.sum(clear[1:] & ~clear[:-1])) + int(len(clear) > 0 and clear[0])
    return 1.0 / closings if closings else math.nan


def percentile_ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """(N,) → (N,): place in the order, (average rank − ½) / N in (0, 1); ties share theirs, nan stays nan."""
    from scipy.stats import rankdata

    array = np.asarray(values, dtype=np.float64)
    ranks = np.full(len(array), np.nan)
    known = np.isfinite(array)
    if known.any():
        ranks[known] = (rankdata(array[known]) - 0.5) / known.sum()
    return ranks


def score(group: Sequence[Trajectory]) -> np.ndarray:
    """(N,) quality of the trajectories of one task type, in [0, 1].

    Success first: every success is above ½, every failure below, an unknown outcome between ¼ and ¾. Then the mean
    rank over smoothness, path efficiency, grasp stability and speed (those that are known).
    """
    measures = np.stack([
        percentile_ranks([t.smoothness for t in group]),
        percentile_ranks([t.path_efficiency for t in group]),
        percentile_ranks([t.grasp_stability for t in group]),
        percentile_ranks([-t.duration_s for t in group]),
    ])  # fmt: skip
    known = np.isfinite(measures)
    mean = np.where(known, measures, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    mean = np.where(known.any(axis=0), mean, 0.5)
    outcome = np.array([0.25 if t.success is None else 0.5 * t.success for t in group])
    return outcome + 0.5 * mean


def quartiles(values: np.ndarray) -> np.ndarray:
    """(N,) → (N,) int, 1 (worst) to 4 (best); equal values share a quartile; 0 for nan and for fewer than 4."""
    ranks = percentile_ranks(values)
    if np.isfinite(ranks).sum() < MIN_FOR_QUARTILES:
        return np.zeros(len(values), dtype=int)
    # the small amount keeps a rank that is exactly a quarter (a tie across the border) in the lower quartile
    return np.where(np.isfinite(ranks), np.ceil(4 * np.nan_to_num(ranks) - 1e-9), 0).astype(int)


def rank_pool(
    trajectories: Iterable[Trajectory], *, demonstrations: Sequence[str], expert_share: float
) -> tuple[list[Trajectory], list[str]]:
    """The trajectories with quality, quartile and tier filled in, and what a person should know about it.

    A `quality` that is already there is the user's own; it is used where the whole task type has it.
    """
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        groups[trajectory.task_type].append(trajectory)
    ranked: list[Trajectory] = []
    notes: list[str] = []
    for task, group in sorted(groups.items()):
        own = np.array([t.quality for t in group])
        if np.isfinite(own).any() and not np.isfinite(own).all():
            missing = int((~np.isfinite(own)).sum())
            notes.append(f"{task}: {missing} of {len(group)} trajectories lack your quality; Robopref's score is used.")
        values = own if np.isfinite(own).all() else score(group)
        places = quartiles(values)
        notes += _notes(task, places)
        tiers = tier_names(group, demonstrations, expert_share)
        ranked += [
            replace(t, quality=float(v), quartile=int(q), tier=tier)
            for t, v, q, tier in zip(group, values, places, tiers, strict=True)
        ]
    return sorted(ranked, key=lambda t: t.trajectory_id), notes


def tier_names(group: Sequence[Trajectory], demonstrations: Sequence[str], share: float) -> list[str]:
    """Tier of each trajectory of one task type.

    `expert` are the best `share` of the demonstrations by success, then smoothness; a known failure never is one.
    All others keep their source, except that an expert's demonstration which did not make it is a `demonstration`.
    """
    candidates = [i for i, t in enumerate(group) if t.source in demonstrations]
    wanted = math.ceil(share * len(candidates) - 1e-9)

    def key(i: int) -> tuple[float, float, str]:
        t = group[i]
        outcome = 0.5 if t.success is None else float(t.success)
        return (-outcome, -t.smoothness if math.isfinite(t.smoothness) else math.inf, t.trajectory_id)

    experts = {i for i in sorted(candidates, key=key)[:wanted] if group[i].success is not False}
    rest = ["demonstration" if t.source == "expert" else t.source for t in group]
    return ["expert" if i in experts else name for i, name in enumerate(rest)]


def _notes(task: str, places: np.ndarray) -> list[str]:
    if not places.any():
        return [f"{task}: {len(places)} trajectories are too few for quartiles (4 are needed); none is ranked."]
    empty = [str(q) for q in (1, 2, 3, 4) if q not in places]
    if empty:
        return [f"{task}: equal quality leaves quartile {', '.join(empty)} empty."]
    return []
