"""The batch: a uniform audit arm, then the pairs that the rule values most, with no trajectory shown too often.

Rewards mean something within a task type only, so every rule works within task types and their pairs compete. Pairs
that were asked, either way round, never come again. Where ties are known, a pair's worth is what it has by the rule
times the probability that the answer is none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.ranking.candidates import candidates, codes, drawn_uniformly, listed_pairs, without
from ml_backend.ranking.scores import Design, PairKey, PoolScores
from ml_backend.ranking.utility import (
    TieProbability,
    closeness,
    covariance,
    d_optimal,
    disagreement,
    mutual_information,
    v_optimal,
    wrong_orders,
)
from preference.bradley_terry import sigmoid
from preference.errors import ConfigError

STRATEGIES = ("uniform", "smallest_difference", "closest", "disagreement", "bald", "d_optimal", "v_optimal")
BATCH_USES, EVEN_SHARES = 3, 2
"""A batch shows a trajectory three times, or twice its even share where that is more."""
TOP, TIMES = 100, 5
"""The best 100 pairs, and at least five times the batch, are chosen from."""
ORDERS = 4_000
"""Pairs of the pool, drawn at random, whose wrong orders `v_optimal` counts."""
JITTER = 1e-6
"""On the kernel's diagonal, in units of it: copies stay possible, after everything else."""
ALIKE = 1e-3
"""Of the mean length of x, as one more coordinate: pairs without any difference are copies of one another."""


@dataclass(frozen=True)
class Choice:
    """A pair to ask, which rule chose it, and what is expected of it."""

    trajectories: tuple[str, str]
    strategy: str
    score: float
    """Its utility under that rule."""
    rewards: tuple[float, float] = (0.0, 0.0)
    information: float = 0.0
    """Bits that an answer is expected to tell about the reward: the members' mutual information, whatever the rule."""
    tie: float = 0.0
    """Probability of the answer `equal`; 0 where nobody has given it yet."""


def rank_pairs(
    scores: PoolScores,
    count: int,
    *,
    strategy: str,
    asked: Collection[PairKey],
    audit: float,
    within_sd: float,
    rng: np.random.Generator,
    ties: TieProbability | None = None,
    among: Sequence[tuple[str, str]] | None = None,
    again: bool = False,
) -> list[Choice]:
    """The `count` pairs to ask next, best first; fewer where the pool has no more.

    Args:
        asked: Pairs that are never proposed again.
        audit: Share drawn uniformly instead, marked `uniform`: the unbiased test set.
        within_sd: `closest` takes pairs whose rewards differ by less than so many standard deviations.
        ties: How likely people are to call a pair equal; None: nothing is known of that.
        among: Only these pairs are candidates, so that rounds can be replayed over answers that exist; None: all.
        again: Whether pairs that were asked may be proposed.

    Raises:
        ConfigError: there is no such strategy.
        DataError: `among` has a trajectory that is not scored, a pair of two task types, one twice, or one that was
            asked although not `again`.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"There is no strategy {strategy!r}.", fix=f"Choose one of: {', '.join(STRATEGIES)}.")
    if count < 1 or not scores.trajectory_ids:
        return []
    before = scores.rows_of(asked)
    taken = np.unique(codes(before, len(scores.trajectory_ids)))
    if again:
        taken = taken[:0]
    listed = None if among is None else listed_pairs(scores, among, taken)
    audited = count if strategy == "uniform" else round(audit * count)
    drawn = np.empty((0, 2), np.int64)
    if audited:
        drawn = drawn_uniformly(scores, taken, audited, rng) if listed is None else rng.permutation(listed)[:audited]
    use = _Use(scores, before, count)
    for a, b in drawn.tolist():
        use.add(a, b)
    wanted = count - len(drawn)
    best: list[tuple[int, int, float]] = []
    if strategy != "uniform" and wanted:
        taken = np.union1d(taken, codes(drawn, len(scores.trajectory_ids)))
        if listed is None:
            pairs = candidates(scores, taken, max(TOP, TIMES * count), within_sd, rng)
        else:
            pairs = without(listed, taken, len(scores.trajectory_ids))
        best = _chosen(scores, pairs, before, strategy, within_sd, ties, use, wanted, rng)
    return _described(scores, best, strategy, ties) + _described(
        scores, [(a, b, 0.0) for a, b in drawn.tolist()], "uniform", ties
    )


class _Use:
    """How often each trajectory is shown: in this batch, and over all of them."""

    def __init__(self, scores: PoolScores, before: np.ndarray, count: int) -> None:
        n = len(scores.trajectory_ids)
        self.batch: Counter[int] = Counter()
        self.total = Counter(before.ravel().tolist())
        self.most = max(BATCH_USES, math.ceil(EVEN_SHARES * 2 * count / n))
        self.most_ever = max(2 * BATCH_USES, math.ceil(2 * EVEN_SHARES * 2 * (len(before) + count) / n))

    def fits(self, a: int, b: int) -> bool:
        """Whether both may be shown once more."""
        return all(self.batch[i] < self.most and self.total[i] < self.most_ever for i in (a, b))

    def add(self, a: int, b: int) -> None:
        self.batch.update((a, b))
        self.total.update((a, b))


def _chosen(
    scores: PoolScores,
    pairs: np.ndarray,
    before: np.ndarray,
    strategy: str,
    within_sd: float,
    ties: TieProbability | None,
    use: _Use,
    wanted: int,
    rng: np.random.Generator,
) -> list[tuple[int, int, float]]:
    """Up to `wanted` pairs with their utility, best first; `use` goes on counting."""
    if not len(pairs):
        return []
    x = scores.differences(pairs)
    if strategy == "smallest_difference":  # the protocol's words: nothing of ties, diversity or fair use
        size = np.abs(x.mean(axis=0))
        order = np.argsort(size, kind="stable")[:wanted].tolist()
        return [(int(pairs[row, 0]), int(pairs[row, 1]), -float(size[row])) for row in order]
    decided = np.ones(len(pairs)) if ties is None else 1.0 - ties(x)
    if strategy == "d_optimal":
        p = sigmoid(x.mean(axis=0))
        sigma = covariance(scores.phi, scores.rewards, before[:, 0], before[:, 1])
        ranked = d_optimal(scores.phi, pairs, decided * p * (1.0 - p), sigma, use.fits)
    elif strategy == "v_optimal":
        plan = scores.design or Design(scores.phi, scores.rewards)
        p = sigmoid(plan.rewards[pairs[:, 0]] - plan.rewards[pairs[:, 1]])
        sigma = covariance(plan.phi, plan.rewards, before[:, 0], before[:, 1])
        pool = drawn_uniformly(scores, np.empty(0, np.int64), ORDERS, rng)
        orders = wrong_orders(plan.phi, plan.rewards, sigma, pool)
        ranked = v_optimal(plan.phi, pairs, decided * p * (1.0 - p), sigma, orders, use.fits)
    else:
        utility = decided * _utility(scores, x, pairs, strategy, within_sd)
        ranked = _by_utility(scores, pairs, utility, use, wanted)
    chosen = []
    while len(chosen) < wanted and (found := next(ranked, None)) is not None:
        row, worth = found
        a, b = (int(i) for i in pairs[row])
        use.add(a, b)
        chosen.append((a, b, worth))
    return chosen


def _utility(scores: PoolScores, x: np.ndarray, pairs: np.ndarray, strategy: str, within_sd: float) -> np.ndarray:
    if strategy == "closest":
        return closeness(x, within_sd * scores.spread[pairs[:, 0]])
    return disagreement(x, scores.nu) if strategy == "disagreement" else mutual_information(x, scores.nu)


def _by_utility(
    scores: PoolScores, pairs: np.ndarray, utility: np.ndarray, use: _Use, wanted: int
) -> Iterator[tuple[int, float]]:
    """Rows in the order in which they are to be asked: a diverse batch from the best, then the rest by utility."""
    order = np.argsort(-utility, kind="stable")
    order = order[utility[order] > 0]
    if not len(order):
        return
    top = order[: max(TOP, TIMES * wanted)]
    process = diverse(scores.phi[pairs[top, 0]] - scores.phi[pairs[top, 1]], utility[top])
    place = next(process, None)
    while place is not None:
        row = int(top[place])
        fits = use.fits(int(pairs[row, 0]), int(pairs[row, 1]))
        if fits:
            yield row, float(utility[row])
        try:
            place = process.send(fits)
        except StopIteration:
            break
    for row in order[len(top) :].tolist():
        if use.fits(int(pairs[row, 0]), int(pairs[row, 1])):
            yield row, float(utility[row])


def _described(
    scores: PoolScores, chosen: list[tuple[int, int, float]], strategy: str, ties: TieProbability | None
) -> list[Choice]:
    if not chosen:
        return []
    x = scores.differences(np.array([(a, b) for a, b, _ in chosen]))
    bits = np.maximum(mutual_information(x, scores.nu), 0.0) / math.log(2.0)
    tie = np.zeros(len(chosen)) if ties is None else ties(x)
    ids, rewards = scores.trajectory_ids, scores.rewards
    return [
        Choice((ids[a], ids[b]), strategy, worth, (float(rewards[a]), float(rewards[b])), float(bits[i]), float(tie[i]))
        for i, (a, b, worth) in enumerate(chosen)
    ]


def diverse(x: np.ndarray, utility: np.ndarray) -> Generator[int, bool | None, None]:
    """Rows of a batch that does not ask the same thing many times, by a determinantal point process.

    Rules that value each pair by itself propose near-copies: with one reward difference open, every pair that shows it
    is worth the same. So the pairs form a process with kernel L_ij = q_i q_j cos²(x_i, x_j), q the utility (squared,
    because a pair and its mirror image ask the same), and the batch is its greedy most likely subset (Kulesza & Taskar
    2012; greedy with a running Cholesky factor, Chen, Zhang & Zhou 2018), as in APReL (Bıyık, Talati & Sadigh 2022).

    Each row is the best after those before it; the caller says with `send(False)` that one was not used.

    Args:
        x: (C, H) φ_a − φ_b of each pair.
        utility: (C,) more than 0.
    """
    floor = max(ALIKE * float(np.linalg.norm(x, axis=1).mean()), 1e-12)
    direction = np.column_stack([x, np.full(len(x), floor)])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    quality = np.maximum(utility, 1e-300)
    left = quality**2 * (1.0 + JITTER)
    factors: list[np.ndarray] = []
    waiting = np.ones(len(x), bool)
    for _ in range(len(x)):
        best = int(np.argmax(np.where(waiting, left, -np.inf)))
        waiting[best] = False
        if (yield best) is False:
            continue
        row = quality[best] * quality * (direction @ direction[best]) ** 2
        for factor in factors:
            row = row - factor * factor[best]
        factor = row / np.sqrt(max(left[best], 1e-300))
        factors.append(factor)
        left = np.maximum(left - factor**2, JITTER * quality**2)
