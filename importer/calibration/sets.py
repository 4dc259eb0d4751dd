"""Two calibration sets and a training set, proposed from the measures; the expert then says what is true.

Trajectories go in, disjoint lists of `Pair` come out. Each pair differs clearly, but not trivially, in overall
quality, and is about one dimension that annotators have to be taught:

| dimension | the two trajectories |
| --- | --- |
| smoothness | one is smooth but slow, the other quicker but rougher; not both fail |
| efficiency | both arrive, one of them by a long path |
| grasp | one holds steadily, the other lets go and grasps again; not both fail |
| recovery | one lost its grasp and still succeeded, the other failed |
| contrast | a clear difference of any kind |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from importer.pairs.sampling import make_pair
from importer.pairs.strata import PairKey, apportion
from importer.pool.quality import percentile_ranks
from preference.errors import UserError
from preference.records import Pair, Trajectory

SETS = ("calibration-1", "calibration-2")
TRAINING = "training"
DIMENSIONS = ("contrast", "smoothness", "efficiency", "grasp", "recovery")
CLEAR = (0.25, 0.85)
"""Difference in quality, as a share of the task type's trajectories that lie between: below the first even experts
differ, above the second nobody can be wrong."""
MANY = 20_000
"""Candidates considered per task type: plenty to choose from, at a cost that does not grow with the pool."""
MIN_PAIRS = 4


class Calibration(NamedTuple):
    """The sets, and what a person should know about them."""

    first: list[Pair]
    second: list[Pair]
    training: list[Pair]
    notes: list[str]


def propose_calibration(
    trajectories: Sequence[Trajectory],
    count: int,
    rng: np.random.Generator,
    exclude: Collection[PairKey] = frozenset(),
    *,
    training: int = 0,
) -> Calibration:
    """`count` pairs for each set, spread over the task types and the dimensions; no pair is in two sets.

    A small pool gives smaller sets, or pairs that differ less clearly, and a note that says so.

    Args:
        training: Pairs for the training set, from what the other two leave.

    Raises:
        UserError: not even four pairs a set can be made.
    """
    by_task: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.quartile:
            by_task[trajectory.task_type].append(trajectory)
    groups = [_Candidates.of(group, rng, exclude) for _, group in sorted(by_task.items())]
    limits = np.array([len(group.first) // 2 for group in groups], dtype=int)
    possible = int(min(count, limits.sum()))
    if possible < MIN_PAIRS:
        raise UserError(
            f"Two calibration sets need at least {2 * MIN_PAIRS} pairs of different quality; "
            f"the pool has {2 * int(limits.sum())} ({sum(map(len, by_task.values()))} ranked trajectories).",
            fix="Add episodes of different quality, failures too; then run `robopref pool` and `robopref clips`.",
        )
    sets: tuple[list[Pair], list[Pair]] = ([], [])
    for group, share in zip(groups, apportion(possible, np.ones(len(groups)), limits, rng).tolist(), strict=True):
        for number in range(share):
            for pairs, name in zip(sets, SETS, strict=True):
                pairs.append(group.take(number, name, rng))
    notes = _notes(count, possible, sum(group.unclear for group in groups), [*sets[0], *sets[1]])
    first, second = ([pairs[i] for i in rng.permutation(len(pairs))] for pairs in sets)
    taught = _training(groups, training, rng)
    if len(taught) < training:
        notes.append(f"{len(taught)} pairs in the training set instead of {training}: the pool has no more.")
    return Calibration(first, second, taught, notes)


def _training(groups: Sequence[_Candidates], count: int, rng: np.random.Generator) -> list[Pair]:
    """Up to `count` more pairs, the task types and the dimensions in turn."""
    pairs: list[Pair] = []
    number = 0
    while len(pairs) < count and (left := [group for group in groups if group.free.any()]):
        for group in left[: count - len(pairs)]:
            pairs.append(group.take(number, TRAINING, rng))
        number += 1
    return pairs


@dataclass
class _Candidates:
    """Candidate pairs of one task type, C of them, and how often each of its N trajectories was taken."""

    trajectories: Sequence[Trajectory]
    first: np.ndarray
    """(C,) int, index of one trajectory."""
    second: np.ndarray
    """(C,) int, index of the other."""
    clear: np.ndarray
    """(C,) bool, neither trivial nor a matter of taste."""
    about: dict[str, np.ndarray]
    """Dimension → (C,) bool."""
    free: np.ndarray
    """(C,) bool, not taken yet."""
    usage: np.ndarray
    """(N,) int."""
    unclear: int = 0
    """Pairs taken although they differ less, or more, than is wanted."""

    @classmethod
    def of(cls, group: Sequence[Trajectory], rng: np.random.Generator, exclude: Collection[PairKey]) -> _Candidates:
        first, second = _some_pairs(len(group), rng)
        gap = np.abs(_difference(percentile_ranks([t.quality for t in group]), first, second))
        ids = [t.trajectory_id for t in group]
        fresh = np.array([frozenset((ids[i], ids[j])) not in exclude for i, j in zip(first, second, strict=True)], bool)
        usable = fresh & (gap > 0)
        first, second, gap = first[usable], second[usable], gap[usable]
        return cls(
            group,
            first,
            second,
            (gap >= CLEAR[0]) & (gap <= CLEAR[1]),
            _dimensions(group, first, second),
            np.ones(len(first), dtype=bool),
            np.zeros(len(group), dtype=int),
        )

    def take(self, number: int, batch_id: str, rng: np.random.Generator) -> Pair:
        """The next pair: of dimension `number` in turn where there is one, else a clear one, else any."""
        wanted = (number + np.arange(len(DIMENSIONS))) % len(DIMENSIONS)
        for dimension in (DIMENSIONS[i] for i in wanted):
            mask = self.free & self.clear & self.about[dimension]
            if mask.any():
                return self._pair(mask, dimension, batch_id, rng)
        self.unclear += 1
        return self._pair(self.free, "contrast", batch_id, rng)

    def _pair(self, mask: np.ndarray, dimension: str, batch_id: str, rng: np.random.Generator) -> Pair:
        usage = self.usage[self.first] + self.usage[self.second] + rng.random(len(mask))
        index = int(np.argmin(np.where(mask, usage, np.inf)))
        self.free[index] = False
        i, j = int(self.first[index]), int(self.second[index])
        self.usage[[i, j]] += 1
        a, b = (i, j) if rng.random() < 0.5 else (j, i)
        return make_pair(self.trajectories[a], self.trajectories[b], "calibration", batch_id, dimension=dimension)


def _some_pairs(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j of `size`, or where they are more than MANY, so many drawn at random, none twice."""
    if size * (size - 1) // 2 <= MANY:
        first, second = np.triu_indices(size, 1)
        return first, second
    drawn = rng.integers(0, size, (MANY, 2))
    drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
    return drawn[:, 0], drawn[:, 1]


def _difference(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return values[first] - values[second]


def _dimensions(group: Sequence[Trajectory], first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Dimension → (C,) bool: which candidates show it. A measure that is nan shows nothing."""
    smooth = _difference(percentile_ranks([t.smoothness for t in group]), first, second)
    quick = _difference(percentile_ranks([-t.duration_s for t in group]), first, second)
    direct = _difference(percentile_ranks([t.path_efficiency for t in group]), first, second)
    grasp = np.array([t.grasp_stability for t in group])
    success = np.array([t.success is True for t in group])
    failure = np.array([t.success is False for t in group])
    regrasped = success & (grasp < 1.0)
    # how two failures move or hold says little of how well the task was done
    tried = ~(failure[first] & failure[second])
    with np.errstate(invalid="ignore"):
        return {
            "contrast": np.ones(len(first), dtype=bool),
            "smoothness": tried & (np.abs(smooth) >= 0.25) & (np.abs(quick) >= 0.25) & (smooth * quick < 0),
            "efficiency": success[first] & success[second] & (np.abs(direct) >= 0.25),
            "grasp": tried & (np.abs(_difference(grasp, first, second)) >= 0.25),
            "recovery": (regrasped[first] & failure[second]) | (regrasped[second] & failure[first]),
        }


def _notes(count: int, possible: int, unclear: int, pairs: Sequence[Pair]) -> list[str]:
    notes = []
    if possible < count:
        notes.append(f"{possible} pairs in each calibration set instead of {count}: the pool has no more.")
    if unclear:
        notes.append(f"{unclear} calibration pairs differ by very little or by very much: the pool has no better ones.")
    shown = {pair.dimension for pair in pairs}
    if missing := [name for name in DIMENSIONS if name not in shown]:
        notes.append(f"No calibration pair is about {', '.join(missing)}: no two trajectories show it.")
    return notes
