"""Where a batch's pairs come from: how many of each stratum and task type, and which trajectories come next.

Ranked trajectories go in. `plan` splits a number of pairs over strata, task types and pairs of quartiles; `draw`
gives one pair that was not given before, of the least used trajectories. 10,000 pairs from
100,000 trajectories take a fraction of a second: a heap per quartile, and no list of all pairs anywhere.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from preference.errors import UserError
from preference.records import Stratum, Trajectory

PairKey = frozenset[str]
"""The two trajectory ids of a pair, whichever is `a`."""

CELLS: dict[Stratum, tuple[tuple[int, int], ...]] = {
    "adjacent": ((1, 2), (2, 3), (3, 4)),
    "distant": ((1, 3), (2, 4), (1, 4)),
    "same": ((1, 1), (2, 2), (3, 3), (4, 4)),
}
"""The quartiles that make up each stratum. `same` is last: it evens out how often each quartile is used."""


NEAREST: dict[Stratum, tuple[Stratum, ...]] = {
    "adjacent": ("same", "distant"),
    "distant": ("adjacent", "same"),
    "same": ("adjacent", "distant"),
}
"""Where a pair comes from, with `fill`, when the stratum has none left."""


class StratumError(UserError):
    """The pool has too few pairs of a stratum left."""


def apportion(total: int, weights: np.ndarray, limits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`total` in whole numbers, in proportion to `weights`, none above its limit; largest remainders round up.

    Args:
        weights: (N,) ≥ 0; where all are 0, the limits take their place.
        limits: (N,) int ≥ 0, together at least `total`. What a limit holds back goes to the others.
        rng: Draws among equal remainders.
    """
    weights = np.where(limits > 0, weights, 0.0)
    free = limits > 0
    ideal = np.zeros(len(weights))
    while free.any():
        shares = weights if weights[free].sum() > 0 else limits.astype(float)
        ideal = np.where(free, (total - limits[~free].sum()) * (shares / shares[free].sum()), limits)
        over = free & (ideal > limits)
        if not over.any():
            break
        free &= ~over
    whole = np.floor(ideal + 1e-9).astype(int)
    rest = np.where(whole < limits, (ideal - whole).round(9), -1.0)
    best = np.lexsort((rng.random(len(rest)), -rest))
    whole[best[: total - whole.sum()]] += 1
    return whole


class StratifiedPool:
    """The ranked trajectories by task type and quartile, how often each was used, and which pairs are taken."""

    def __init__(
        self, trajectories: Sequence[Trajectory], exclude: Collection[PairKey], rng: np.random.Generator
    ) -> None:
        self.trajectories = [t for t in trajectories if t.quartile]
        self._rng = rng
        self._usage = [0] * len(self.trajectories)
        self._taken: set[tuple[int, int]] = set()
        groups: dict[str, list[list[int]]] = defaultdict(lambda: [[], [], [], [], []])
        for index, trajectory in enumerate(self.trajectories):
            groups[trajectory.task_type][trajectory.quartile].append(index)
        self._groups = dict(sorted(groups.items()))
        self._room = {
            (task, cell): _all_pairs(len(group[cell[0]]), len(group[cell[1]]), cell[0] == cell[1])
            for task, group in self._groups.items()
            for cells in CELLS.values()
            for cell in cells
        }
        self._exclude(exclude)
        self._queues = {
            (task, quartile): _Queue(group[quartile], self._usage, rng)
            for task, group in self._groups.items()
            for quartile in (1, 2, 3, 4)
        }

    def _exclude(self, exclude: Collection[PairKey]) -> None:
        place = {t.trajectory_id: index for index, t in enumerate(self.trajectories)} if exclude else {}
        for key in exclude:
            known = [place[i] for i in key if i in place]
            for index in known:
                self._usage[index] += 1
            if len(known) == 2 and len({self.trajectories[i].task_type for i in known}) == 1:
                self._take(*known)

    def _take(self, first: int, second: int) -> None:
        self._taken.add((min(first, second), max(first, second)))
        low, high = sorted((self.trajectories[first].quartile, self.trajectories[second].quartile))
        self._room[self.trajectories[first].task_type, (low, high)] -= 1

    def plan(
        self, count: int, strata: Mapping[Stratum, float], *, fill: bool = False
    ) -> Iterable[tuple[Stratum, str, tuple[int, int], int]]:
        """How many pairs of each stratum, task type and pair of quartiles.

        Args:
            fill: What a stratum lacks comes from the nearest one that has it.
        """
        tasks = list(self._groups)
        sizes = np.array([sum(map(len, self._groups[task])) for task in tasks], dtype=float)
        names = list(CELLS)
        plenty = np.full(len(names), count)
        wanted = apportion(count, np.array([strata.get(name, 0.0) for name in names]), plenty, self._rng)
        if fill:
            wanted = self._filled(dict(zip(names, wanted.tolist(), strict=True)))
        given, cumulative = np.zeros(len(tasks)), 0
        split: dict[str, dict[Stratum, int]] = {task: {} for task in tasks}
        for stratum, number in zip(names, wanted.tolist(), strict=True):
            room = np.array([sum(self._room[task, cell] for cell in CELLS[stratum]) for task in tasks], dtype=int)
            self._check(stratum, number, dict(zip(tasks, room.tolist(), strict=True)))
            cumulative += number
            # what a task type lacks of its share so far, so that rounding never falls on the same one three times
            owed = np.maximum(cumulative * sizes / max(sizes.sum(), 1) - given, 0.0)
            shares = apportion(number, owed, room, self._rng)
            given += shares
            for task, share in zip(tasks, shares.tolist(), strict=True):
                split[task][stratum] = share
        for task in tasks:
            yield from self._cells(task, split[task])

    def _cells(self, task: str, split: dict[Stratum, int]) -> Iterable[tuple[Stratum, str, tuple[int, int], int]]:
        """The cells of one task type: as pairs drawn at random would fall, and `same` where it evens out the use."""
        sizes = np.array([len(self._groups[task][quartile]) for quartile in (1, 2, 3, 4)], dtype=float)
        used = np.array([sum(self._usage[i] for i in self._groups[task][q]) for q in (1, 2, 3, 4)], dtype=float)
        goal = (used.sum() + 2 * sum(split.values())) * sizes / max(sizes.sum(), 1)
        for stratum, number in split.items():
            cells = CELLS[stratum]
            if stratum == "same":
                weights = np.maximum(goal - used, 0.0)
            else:
                weights = np.array([sizes[low - 1] * sizes[high - 1] for low, high in cells])
            room = np.array([self._room[task, cell] for cell in cells], dtype=int)
            for cell, share in zip(cells, apportion(number, weights, room, self._rng).tolist(), strict=True):
                for quartile in cell:
                    used[quartile - 1] += share
                if share:
                    yield stratum, task, cell, share

    def _filled(self, wanted: dict[Stratum, int]) -> np.ndarray:
        """(strata,) the numbers with what one lacks given to the nearest that has room; what none has is an error."""
        room = {name: sum(self._room[task, cell] for task in self._groups for cell in CELLS[name]) for name in wanted}
        got = {name: min(number, room[name]) for name, number in wanted.items()}
        for name, number in wanted.items():
            lacking = max(number - room[name], 0)
            for other in (*NEAREST[name], name):
                given = min(lacking, room[other] - got[other]) if other != name else lacking
                got[other] += given
                lacking -= given
        return np.array([got[name] for name in wanted])

    def _check(self, stratum: Stratum, wanted: int, room: dict[str, int]) -> None:
        if wanted <= (left := sum(room.values())):
            return
        each = ", ".join(f"{task}: {number}" for task, number in room.items())
        raise StratumError(
            f"{wanted} {stratum} pairs are needed, but only {left} have not been asked yet"
            f" ({len(self.trajectories)} ranked trajectories{'; ' + each if each else ''}).",
            fix="Ask fewer pairs (pairs.batch), add trajectories, change pairs.strata, or take them from the nearest "
            "stratum with --fill.",
        )

    def draw(self, task: str, cell: tuple[int, int]) -> tuple[Trajectory, Trajectory]:
        """A pair of the cell that is not taken, of the least used trajectories."""
        left, right = (self._queues[task, quartile] for quartile in cell)
        partner: int | None = None

        def has_partner(i: int) -> bool:
            nonlocal partner
            partner = right.first(lambda j: (min(i, j), max(i, j)) not in self._taken)
            return partner is not None

        first = left.first(has_partner)
        if first is None or partner is None:
            raise RuntimeError(f"no pair left in {task}, quartiles {cell}: the plan does not fit the pool")
        self._take(first, partner)
        self._usage[first] += 1
        self._usage[partner] += 1
        return self.trajectories[first], self.trajectories[partner]


class _Queue:
    """The trajectories of one quartile, least used first, equals in random order."""

    def __init__(self, members: Sequence[int], usage: Sequence[int], rng: np.random.Generator) -> None:
        self._usage = usage
        self._rng = rng
        self._heap = [(usage[i], key, i) for i, key in zip(members, rng.random(len(members)).tolist(), strict=True)]
        heapq.heapify(self._heap)

    def first(self, fits: Callable[[int], bool]) -> int | None:
        """The first member that fits. While `fits` runs, the members tried so far are out of the queue: asked of the
        same queue again, as for two of one quartile, it looks only at those after them."""
        tried: list[tuple[int, float, int]] = []
        found: int | None = None
        while self._heap and found is None:
            usage, _, member = entry = heapq.heappop(self._heap)
            if usage != self._usage[member]:  # it was used since: it goes further back
                heapq.heappush(self._heap, (self._usage[member], self._rng.random(), member))
                continue
            tried.append(entry)
            if fits(member):
                found = member
        for entry in tried:
            heapq.heappush(self._heap, entry)
        return found


def _all_pairs(first: int, second: int, same: bool) -> int:
    return first * (first - 1) // 2 if same else first * second
