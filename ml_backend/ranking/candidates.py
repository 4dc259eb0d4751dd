"""Which of a pool's N² pairs are looked at: all of a small pool, some tens of thousands of a large one.

`closest` needs no choice: in sorted order the closest pairs are found exactly (`closest_pairs`), those already asked
passed over. For the other rules a large pool's candidates are, in each task type,

- the closest pairs,
- pairs drawn at random of those within 0.5 sd of each other, where a trained model is unsure who wins,
- pairs drawn at random of all, where its members may be unsure together.

The number of candidates is bounded over all task types together, each having a share by its trajectories. Everything
is O(N log N) for N trajectories, and no list of all pairs is ever made: a pair of trajectories i < j is the code
i·N + j, so sets of asked pairs are sorted arrays, and a million are looked up at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from ml_backend.ranking.scores import PoolScores
from preference.errors import DataError

EXHAUSTIVE = 20_000
"""Pairs of a pool that are all looked at; 200 trajectories of one task type have as many."""
CANDIDATES = 12_000
"""Of a larger pool; three times as many find pairs that tell 2 % more."""
TRIES = 30
"""Draws before a pool counts as nearly used up, and is listed instead."""


def codes(pairs: np.ndarray, n: int) -> np.ndarray:
    """(C,) one number for each of (C, 2) pairs of N trajectories, the same for both orders."""
    return pairs.min(axis=1) * n + pairs.max(axis=1)


def without(pairs: np.ndarray, taken: np.ndarray, n: int) -> np.ndarray:
    """The pairs whose code is not among the sorted `taken`."""
    if not len(taken) or not len(pairs):
        return pairs
    own = codes(pairs, n)
    place = np.minimum(np.searchsorted(taken, own), len(taken) - 1)
    return pairs[taken[place] != own]


def candidates(
    scores: PoolScores, taken: np.ndarray, least: int, within_sd: float, rng: np.random.Generator
) -> np.ndarray:
    """(C, 2) pairs within a task type, the lower index first, none of them taken.

    Args:
        taken: Sorted codes of the pairs that were asked.
        least: So many of each task type's closest pairs are among them, where there are so many.
    """
    n = len(scores.trajectory_ids)
    everything = sum(_pairs_of(rows) for rows in scores.groups)
    parts: list[np.ndarray] = [np.empty((0, 2), np.int64)]
    for rows in scores.groups:
        share = round(CANDIDATES * len(rows) / n)
        if everything <= EXHAUSTIVE or _pairs_of(rows) <= share:
            parts.append(rows[np.column_stack(np.triu_indices(len(rows), k=1))])
            continue
        third = max(1, share // 3)
        rewards = scores.rewards[rows]
        parts.append(closest_open(scores, rows, taken, min(max(third, least), share)))
        parts.append(rows[_near(rewards, within_sd * float(scores.spread[rows[0]]), third, rng)])
        parts.append(rows[_apart(len(rows), third, rng)])
    pairs = np.sort(np.concatenate(parts), axis=1)
    _, first = np.unique(codes(pairs, n), return_index=True)
    return without(pairs[first], taken, n)


def closest_open(scores: PoolScores, rows: np.ndarray, taken: np.ndarray, limit: int) -> np.ndarray:
    """(≤ limit, 2) the closest pairs of one task type that are not taken, exactly, closest first."""
    n, wanted = len(scores.trajectory_ids), limit
    while True:
        found = rows[closest_pairs(scores.rewards[rows], wanted)]
        left = without(found, taken, n)
        if len(left) >= limit or len(found) < wanted:
            return left[:limit]
        wanted = 2 * wanted + limit - len(left)


def closest_pairs(rewards: np.ndarray, limit: int) -> np.ndarray:
    """The `limit` pairs with the smallest |difference| of (N,) rewards, exactly: (≤ limit, 2) indices, closest first.

    In sorted order a pair is at least as far apart as each of the gaps that it spans, so only pairs that start at one
    of the `limit` smallest gaps can be among them: O(N log N + limit log limit).
    """
    order = np.argsort(rewards, kind="stable")
    ranked = rewards[order]
    gaps = np.diff(ranked)
    starts = np.argpartition(gaps, limit)[:limit] if len(gaps) > limit else np.arange(len(gaps))
    heap = [(gap, i, i + 1) for gap, i in zip(gaps[starts].tolist(), starts.tolist(), strict=True)]
    heapq.heapify(heap)
    found = []
    while heap and len(found) < limit:
        _, i, j = heapq.heappop(heap)
        found.append((i, j))
        if j + 1 < len(ranked):
            heapq.heappush(heap, (float(ranked[j + 1] - ranked[i]), i, j + 1))
    return order[np.array(found, dtype=np.int64).reshape(-1, 2)]


def listed_pairs(scores: PoolScores, among: Sequence[tuple[str, str]], taken: np.ndarray) -> np.ndarray:
    """(C, 2) the rows of given pairs, the lower first.

    Raises:
        DataError: a trajectory is not here, or a pair is of two task types, is there twice, or is taken.
    """
    n, place = len(scores.trajectory_ids), {name: row for row, name in enumerate(scores.trajectory_ids)}
    rows, seen = [], set()
    for a, b in among:
        for name in (a, b):
            if name not in place:
                raise DataError(f"Candidate pair {a}, {b}: the model has no reward for {name!r}.",
                                fix="Name trajectories that are in the pool and have a clip.")  # fmt: skip
        types = [scores.task_types[place[name]] for name in (a, b)]
        if types[0] != types[1]:
            raise DataError(f"Candidate pair {a}, {b}: of two task types, {types[0]!r} and {types[1]!r}.",
                            fix="Rewards mean something within one task type only: leave the pair out.")  # fmt: skip
        if a == b or frozenset((a, b)) in seen:
            raise DataError(f"Candidate pair {a}, {b}: {'it is one trajectory' if a == b else 'it is listed twice'}.",
                            fix="Leave it out.")  # fmt: skip
        seen.add(frozenset((a, b)))
        rows.append(sorted((place[a], place[b])))
    pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    if (known := np.isin(codes(pairs, n), taken)).any():
        a, b = among[int(np.flatnonzero(known)[0])]
        raise DataError(f"Candidate pair {a}, {b}: it was asked before, as {int(known.sum())} of {len(pairs)} were.",
                        fix="Leave it out, or allow pairs that were asked (`robopref rank --asked`).")  # fmt: skip
    return pairs


def drawn_uniformly(scores: PoolScores, taken: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(≤ count, 2) different pairs, each pair within a task type that is not taken being as likely as any other."""
    n = len(scores.trajectory_ids)
    weight = np.array([_pairs_of(rows) for rows in scores.groups], float)
    if not weight.sum():
        return np.empty((0, 2), np.int64)
    if weight.sum() <= EXHAUSTIVE:
        parts = [rows[np.column_stack(np.triu_indices(len(rows), k=1))] for rows in scores.groups]
        return rng.permutation(without(np.concatenate(parts), taken, n))[:count]
    found = np.empty((0, 2), np.int64)
    for _ in range(TRIES):
        tasks = rng.choice(len(weight), 2 * count, p=weight / weight.sum())
        drawn = np.array([rng.choice(scores.groups[task], 2, replace=False, shuffle=False) for task in tasks])
        found = np.concatenate([found, without(np.sort(drawn, axis=1), taken, n)])
        _, first = np.unique(codes(found, n), return_index=True)
        found = found[np.sort(first)]
        if len(found) >= count:
            break
    return found[:count]


def _pairs_of(rows: np.ndarray) -> int:
    return len(rows) * (len(rows) - 1) // 2


def _near(rewards: np.ndarray, width: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """(≤ count, 2) pairs drawn at random of those less than `width` apart: one end, then the other above it."""
    order = np.argsort(rewards, kind="stable")
    ranked = rewards[order]
    low = rng.integers(len(ranked), size=count)
    high = np.searchsorted(ranked, ranked[low] + width, side="left")
    other = low + 1 + np.floor(rng.random(count) * np.maximum(high - low - 1, 1)).astype(np.int64)
    inside = other < np.minimum(high, len(ranked))
    return order[np.column_stack([low[inside], other[inside]])]


def _apart(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(≤ count, 2) pairs drawn at random."""
    drawn = rng.integers(size, size=(count, 2))
    return drawn[drawn[:, 0] != drawn[:, 1]]
