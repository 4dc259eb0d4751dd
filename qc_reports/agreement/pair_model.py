"""Who is right, knowing how hard each pair is: Dawid-Skene with difficulty.

Votes go in; out comes for each pair how people answer it, for each person how far they can be relied on, and for each
vote what the *others'* votes on that pair make one expect.

A pair's difficulty is how careful people would answer it: a distribution π over A, equal and B. An easy pair has nearly
all of π in one answer, a hard one spreads it. Which π there are, and how often, is estimated from the votes without a
formula, on a grid (a nonparametric mixture, Laird 1978), for each group of pairs (stratum) and pulled towards what all
groups have in common. A person answers by π in a share h of their answers, without looking in a share c (then as they
answer on the whole), and with the sides swapped in a share s; h + c + s = 1. A prior of Dirichlet type, worth `PRIOR`
answers, nearly all of them careful, keeps somebody with few answers from being trusted or distrusted entirely.
Everything is fitted together, by EM.

References: Dawid & Skene 1979 · Whitehill et al. 2009 (GLAD: reliability and difficulty) · Laird 1978. Difficulty is a
distribution of answers and not GLAD's one number, since a pair can be hard because it is nearly equal, or because
people want different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.vote_table import VoteTable

STEPS_OF_GRID = 8
"""π moves in eighths: 45 distributions. Sixteenths changed no figure of the benchmarks."""
NEVER = 0.01
"""No answer is rarer than that among careful people: everybody slips."""
PRIOR = np.array([18.0, 1.5, 0.5])
"""Answers that the prior is worth: careful, careless, swapped."""
POOLED = 20.0
"""Pairs' worth of pull of each group towards all."""
MOST_STEPS = 60
TOLERANCE = 1e-3
TINY = 1e-300


@dataclass(frozen=True)
class PairModel:
    answers: np.ndarray
    """(P, 3) float64: how careful people answer each pair, in expectation; over SCALE."""
    best: np.ndarray
    """(P, 3) float64: how probable it is that most careful people would answer so."""
    reliability: np.ndarray
    """(K, 3) float64: shares of answers that are careful, careless, swapped."""
    expected: np.ndarray
    """(M, 3) float64: for each vote, how somebody like most people would answer, given only the *others'* votes on the
    pair: if all are alike, this is the distribution that the vote was drawn from."""
    difficulties: np.ndarray
    """(G, 3) float64: the ways in which careful people may answer a pair."""
    frequency: np.ndarray
    """(G,) float64: the estimated share of pairs that are answered so."""
    votes: VoteTable
    """What it was fitted to."""
    by_group: dict[str, np.ndarray]
    """Group → (G,) the share of its pairs that are answered so."""


def fit_pairs(votes: VoteTable, groups: Sequence[str] = (), *, start: PairModel | None = None) -> PairModel:
    """Fit difficulty and reliability to all votes.

    Args:
        groups: (P,) of each pair, such as its stratum; default: all are alike.
        start: A fit of nearly the same votes: a few steps from there are enough, where twenty are usual.
    """
    from scipy.sparse import csr_array

    pairs, people = len(votes.pair_ids), len(votes.annotators)
    grid = _grid()
    names, group = np.unique(list(groups) or [""] * pairs, return_inverse=True)
    cell = votes.annotator * 3 + votes.answer
    shape = (pairs, 3 * people)
    said = csr_array((np.ones(len(cell)), (votes.pair, cell)), shape=shape)
    counts = np.bincount(cell, minlength=3 * people).reshape(people, 3).astype(float)
    habit = counts + 3 * counts.sum(axis=0) / max(counts.sum(), 1)
    habit /= np.maximum(habit.sum(axis=1, keepdims=True), TINY)
    known = dict(zip(start.votes.annotators, start.reliability, strict=True)) if start else {}
    reliability = np.array([known.get(name, PRIOR / PRIOR.sum()) for name in votes.annotators]).reshape(people, 3)
    shares_of = start.by_group if start else {}
    weights = np.array([shares_of.get(name, np.full(len(grid), 1 / len(grid))) for name in names.tolist() or [""]])
    ways = np.stack([np.broadcast_to(grid.T, (people, 3, len(grid))),
                     np.broadcast_to(habit[:, :, None], (people, 3, len(grid))),
                     np.broadcast_to(grid.T[::-1], (people, 3, len(grid)))])  # fmt: skip
    logs, likely = np.empty((pairs, len(grid))), np.empty((people, 3, len(grid)))
    for _ in range(MOST_STEPS):
        shares = reliability.T[:, :, None, None] * ways
        likely = shares.sum(axis=0)
        logs = np.log(weights)[group] + said @ np.log(likely).reshape(3 * people, len(grid))
        chances = _normalized(logs)
        mass = (said.T @ chances).reshape(people, 3, len(grid))
        by_way = (shares * (mass / likely)).sum(axis=(2, 3)).T + PRIOR
        reliability = by_way / by_way.sum(axis=1, keepdims=True)
        before, weights = weights, _weights(chances, group, len(weights))
        if np.abs(weights - before).max(initial=0.0) < TOLERANCE:
            break
    careful = _normalized(logs[votes.pair] - np.log(likely).reshape(3 * people, len(grid))[cell]) @ grid
    usual = np.median(reliability, axis=0) if people else PRIOR
    said_by_all = counts.sum(axis=0) / max(counts.sum(), 1)
    expected = (usual[0] * careful + usual[1] * said_by_all + usual[2] * careful[:, ::-1]) / usual.sum()
    chances = _normalized(logs)
    frequency = weights.T @ np.bincount(group, minlength=len(weights)) / max(pairs, 1)
    by_group = dict(zip(names.tolist(), weights, strict=False))
    return PairModel(chances @ grid, chances @ _modes(grid), reliability, expected, grid, frequency, votes, by_group)


def _grid() -> np.ndarray:
    """(G, 3): distributions over SCALE in equal steps, none of them with a certain answer."""
    steps = range(STEPS_OF_GRID + 1)
    points = np.array([(a, e, STEPS_OF_GRID - a - e) for a in steps for e in steps if a + e <= STEPS_OF_GRID])
    return NEVER + (1 - len(SCALE) * NEVER) * points / STEPS_OF_GRID


def _modes(grid: np.ndarray) -> np.ndarray:
    """(G, 3): the commonest answer of each distribution, shared where there are several."""
    tops = np.isclose(grid, grid.max(axis=1, keepdims=True))
    return tops / tops.sum(axis=1, keepdims=True)


def _weights(chances: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(groups, G): how often each distribution occurs in a group, pulled towards all."""
    total = chances.sum(axis=0) + 1 / chances.shape[1]
    overall = total / total.sum()
    own = np.stack([chances[group == g].sum(axis=0) for g in range(groups)]) + POOLED * overall
    return own / own.sum(axis=1, keepdims=True)


def _normalized(logs: np.ndarray) -> np.ndarray:
    """(N, G) logarithms → probabilities by row."""
    found = np.exp(logs - logs.max(axis=1, keepdims=True, initial=-np.inf))
    found /= found.sum(axis=1, keepdims=True)
    return found
