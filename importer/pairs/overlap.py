"""Which annotators answer each pair: teams of k out of n, with even loads and even company.

Three numbers go in, a list of teams comes out. All combinations take turns; what is left over comes from a degree
sequence that is built greedily, which for teams of two is exact (Havel 1955, Hakimi 1962).
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

ATTEMPTS = 12
"""Tries at the left-over teams of three or more; each draws its ties anew, and the most even one is kept."""


def teams(count: int, size: int, overlap: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """`count` teams of `overlap` out of `size` annotators (0 to size − 1).

    Everybody is in equally many to within one, and nearly so in any stretch of the list. For teams of two any two
    annotators share equally many to within one, for larger ones as nearly so as a few attempts find.
    """
    every = math.comb(size, overlap)
    whole: list[tuple[int, ...]] = []
    if count >= every:
        whole = _taking_turns(list(combinations(range(size), overlap)), size, rng) * (count // every)
    left = count - len(whole)
    best: list[tuple[int, ...]] = []
    spread = math.inf
    for _ in range(ATTEMPTS if left else 0):
        found, shared = _greedy_teams(left, size, overlap, rng)
        if (new := int(np.ptp(shared[np.triu_indices(size, 1)])) if size > 1 else 0) < spread:
            best, spread = found, new
        if spread <= 1:
            break
    return whole + _taking_turns(best, size, rng)


def _taking_turns(some: list[tuple[int, ...]], size: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """The same teams, always one next whose members had the fewest so far."""
    members = np.array(some, dtype=int)
    tie = rng.random(len(some))
    loads = np.zeros(size)
    ordered: list[tuple[int, ...]] = []
    for _ in some:
        index = int(np.argmin(loads[members].sum(axis=1) + tie))
        tie[index] = np.inf
        loads[members[index]] += 1
        ordered.append(some[index])
    return ordered


def _greedy_teams(
    count: int, size: int, overlap: int, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Teams, and (size, size) how often any two are together.

    One annotator after the other is given all their teams, with those they share least with, of these with whoever
    has the most still to get.
    """
    quota = np.full(size, count * overlap // size)
    quota[rng.permutation(size)[: count * overlap % size]] += 1
    shared = np.zeros((size, size), dtype=int)
    found: list[tuple[int, ...]] = []
    anchor = int(np.argmax(quota))
    for left in range(count, 0, -1):
        if quota[anchor] == 0:
            anchor = int(np.lexsort((rng.random(size), -quota))[0])
        # whoever still needs as many teams as are left has to be in all of them
        team = [int(i) for i in np.flatnonzero(quota == left)[:overlap]]
        if anchor not in team and len(team) < overlap:
            team.append(anchor)
        while len(team) < overlap:
            open_ = quota > 0
            open_[team] = False
            order = np.lexsort((rng.random(size), -quota, shared[team].sum(axis=0), ~open_))
            team.append(int(order[0]))
        for i, j in combinations(team, 2):
            shared[i, j] += 1
            shared[j, i] += 1
        quota[team] -= 1
        found.append(tuple(sorted(team)))
    return found, shared
