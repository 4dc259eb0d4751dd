"""Which pairs are most worth asking next: five selection rules behind one function.

Rewards, members' disagreement and last-layer features of the whole pool come in; the chosen pairs come out, best first.
Rewards mean something within a task type only, so every rule works within task types and their candidates compete.

| strategy | utility of a pair | source |
| --- | --- | --- |
| `uniform` | none: drawn at random | the baseline, and the audit arm |
| `closest` | −|r_a − r_b|, within 0.5 sd | the protocol; exact |
| `disagreement` | sd over members of σ(r_a − r_b) | Christiano et al. 2017 |
| `bald` | H(mean p) − mean H(p) | Houlsby et al. 2011 |
| `d_optimal` | p(1−p) xᵀΣx, Σ shrunk after each choice | sequential D-optimal design on the Laplace posterior |

Small task types are searched whole. Beyond EXHAUSTIVE pairs the candidates are the closest pairs (found exactly in
O(N log N + k log k)) and as many drawn at random: informative pairs are close ones, or those that members see
differently, and a random half finds the latter.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.laplace import covariance, variance
from preference.errors import ConfigError

STRATEGIES = ("uniform", "closest", "disagreement", "bald", "d_optimal")
EXHAUSTIVE = 50_000
"""Pairs of a task type that are all looked at."""
CANDIDATES = 4_000
"""Candidates of a larger task type, half of them the closest."""
PairKey = frozenset[str]
Fits = Callable[[int, int], bool]
"""Whether both trajectories, by index, may be shown once more."""


@dataclass(frozen=True)
class PoolScores:
    """What a reward model says of N trajectories."""

    trajectory_ids: tuple[str, ...]
    task_types: tuple[str, ...]
    members: np.ndarray
    """(K, N) each member's reward."""
    phi: np.ndarray
    """(N, H) last-layer features, in which the mean reward is linear."""

    @property
    def rewards(self) -> np.ndarray:
        """(N,) the ensemble's mean."""
        return self.members.mean(axis=0)


@dataclass(frozen=True)
class Choice:
    """A pair to ask, which rule chose it, and its utility under that rule."""

    trajectories: tuple[str, str]
    strategy: str
    score: float


def rank_pairs(
    scores: PoolScores,
    count: int,
    *,
    strategy: str,
    asked: set[PairKey],
    audit: float,
    within_sd: float,
    rng: np.random.Generator,
) -> list[Choice]:
    """The `count` pairs to ask next, best first; fewer where the pool has no more.

    Args:
        asked: Pairs that are never proposed again.
        audit: Share drawn uniformly instead, marked `uniform`: the unbiased test set.
        within_sd: `closest` takes pairs whose rewards differ by less than so many standard deviations.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"There is no strategy {strategy!r}.", fix=f"Choose one of: {', '.join(STRATEGIES)}.")
    pairs = _candidates(scores, asked, count, rng)
    if not len(pairs):
        return []
    cap = _fair_use(count, len(scores.trajectory_ids))
    audited = count if strategy == "uniform" else round(audit * count)
    used: Counter[int] = Counter()

    def fits(a: int, b: int) -> bool:
        return used[a] < cap and used[b] < cap

    drawn = _pick(_shuffled(pairs, rng), audited, used, fits)
    left = _without(pairs, [(a, b) for a, b, _ in drawn])
    ranked = (
        _d_optimal(scores, left, asked, fits)
        if strategy == "d_optimal"
        else _by_utility(scores, left, strategy, within_sd)
    )
    chosen = _pick(ranked, count - len(drawn), used, fits)
    ids = scores.trajectory_ids
    best = [Choice((ids[a], ids[b]), strategy, score) for a, b, score in chosen]
    return best + [Choice((ids[a], ids[b]), "uniform", score) for a, b, score in drawn]


def pair_score(reward_a: float, reward_b: float) -> float:
    """A task's place by informativeness for Label Studio, which serves the lowest first: |r_a − r_b|."""
    return abs(reward_a - reward_b)


def closest_pairs(rewards: np.ndarray, limit: int) -> np.ndarray:
    """The `limit` pairs with the smallest |difference| of (N,) rewards, exactly: (≤ limit, 2) indices, closest first.

    In sorted order a pair is at least as far apart as each of the gaps that it spans, so only pairs that start at one
    of the `limit` smallest gaps can be among them: O(N log N + limit log limit).
    """
    order = np.argsort(rewards, kind="stable")
    ranked = rewards[order]
    gaps = np.diff(ranked)
    starts = np.argpartition(gaps, limit)[:limit] if len(gaps) > limit else np.arange(len(gaps))
    heap = [(float(gaps[i]), int(i), int(i) + 1) for i in starts]
    heapq.heapify(heap)
    found = []
    while heap and len(found) < limit:
        _, i, j = heapq.heappop(heap)
        found.append((order[i], order[j]))
        if j + 1 < len(ranked):
            heapq.heappush(heap, (float(ranked[j + 1] - ranked[i]), i, j + 1))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _candidates(scores: PoolScores, asked: set[PairKey], count: int, rng: np.random.Generator) -> np.ndarray:
    """(C, 2) indices of pairs within a task type that have not been asked."""
    position = {name: index for index, name in enumerate(scores.trajectory_ids)}
    known = {tuple(sorted(position[name] for name in key)) for key in asked if all(name in position for name in key)}
    groups = np.array(scores.task_types)
    parts = []
    for task in sorted(set(scores.task_types)):
        members = np.flatnonzero(groups == task)
        if math.comb(len(members), 2) <= EXHAUSTIVE:
            local = np.column_stack(np.triu_indices(len(members), k=1))
        else:
            near = closest_pairs(scores.rewards[members], CANDIDATES // 2 + len(known) + count)
            apart = rng.integers(len(members), size=(CANDIDATES // 2, 2))
            local = np.concatenate([near, apart[apart[:, 0] != apart[:, 1]]])
        parts.append(np.sort(members[local], axis=1))
    pairs = np.unique(np.concatenate(parts), axis=0) if parts else np.empty((0, 2), np.int64)
    return _without(pairs, known)


def _without(pairs: np.ndarray, taken: set[tuple[int, ...]] | Sequence[tuple[int, int]]) -> np.ndarray:
    gone = set(taken)
    return pairs[[tuple(pair) not in gone for pair in pairs.tolist()]] if gone else pairs


def _fair_use(count: int, trajectories: int) -> int:
    """How often one batch may show a trajectory: twice its even share, and at least three times."""
    return max(3, math.ceil(4 * count / max(1, trajectories)))


def _pick(
    ranked: Iterator[tuple[int, int, float]], count: int, used: Counter[int], fits: Fits
) -> list[tuple[int, int, float]]:
    """The first `count` that keep every trajectory within its cap; `used` goes on counting."""
    chosen: list[tuple[int, int, float]] = []
    while len(chosen) < count and (pair := next(ranked, None)) is not None:
        a, b, _ = pair
        if fits(a, b):
            used.update((a, b))
            chosen.append(pair)
    return chosen


def _shuffled(pairs: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, int, float]]:
    for a, b in rng.permutation(pairs):
        yield int(a), int(b), 0.0


def _by_utility(
    scores: PoolScores, pairs: np.ndarray, strategy: str, within_sd: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs in the order in which the rule would ask them."""
    if not len(pairs) or strategy == "uniform":
        return
    x = scores.members[:, pairs[:, 0]] - scores.members[:, pairs[:, 1]]
    if strategy == "closest":
        utility = -np.abs(x.mean(axis=0)) / _spread(scores)[pairs[:, 0]]
        pairs, utility = pairs[utility > -within_sd], utility[utility > -within_sd]
    else:
        p = _sigmoid(x)
        utility = p.std(axis=0) if strategy == "disagreement" else _entropy(p.mean(axis=0)) - _entropy(p).mean(axis=0)
    for index in np.argsort(-utility, kind="stable"):
        yield int(pairs[index, 0]), int(pairs[index, 1]), float(utility[index])


def _d_optimal(
    scores: PoolScores, pairs: np.ndarray, asked: set[PairKey], fits: Fits
) -> Iterator[tuple[int, int, float]]:
    """Sequential: after each choice Σ ← Σ − aΣxxᵀΣ / (1 + a xᵀΣx), so that the next one asks about something else.

    Pairs that do not fit are passed over, for what is not asked teaches nothing.
    """
    x = scores.phi[pairs[:, 0]] - scores.phi[pairs[:, 1]]
    p = _sigmoid(scores.rewards[pairs[:, 0]] - scores.rewards[pairs[:, 1]])
    curvature = p * (1 - p)
    sigma = _posterior(scores, asked)
    spread = variance(sigma, x)
    open_rows = np.ones(len(pairs), bool)
    for _ in range(len(pairs)):
        utility = np.where(open_rows, curvature * spread, -np.inf)
        best = int(np.argmax(utility))
        open_rows[best] = False
        if not fits(int(pairs[best, 0]), int(pairs[best, 1])):
            continue
        yield int(pairs[best, 0]), int(pairs[best, 1]), float(utility[best])
        direction = sigma @ x[best]
        shrink = curvature[best] / (1 + curvature[best] * float(x[best] @ direction))
        sigma -= shrink * np.outer(direction, direction)
        spread -= shrink * (x @ direction) ** 2


def _posterior(scores: PoolScores, asked: set[PairKey]) -> np.ndarray:
    """(H, H) Laplace posterior of the last layer after the pairs that were asked."""
    position = {name: index for index, name in enumerate(scores.trajectory_ids)}
    rows = [[position[name] for name in sorted(key)] for key in asked if all(name in position for name in key)]
    a, b = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return covariance(scores.phi, scores.rewards, a, b)


def _spread(scores: PoolScores) -> np.ndarray:
    """(N,) standard deviation of the rewards within each trajectory's task type."""
    groups, rewards = np.array(scores.task_types), scores.rewards
    spread = np.empty(len(rewards))
    for task in set(scores.task_types):
        spread[groups == task] = max(float(rewards[groups == task].std()), 1e-12)
    return spread


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, of a coin that falls heads with probability p."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    return -(q * np.log(q) + (1 - q) * np.log(1 - q))
