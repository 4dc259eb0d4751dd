"""Reliability-weighted Bradley-Terry: one score per trajectory from all votes, each counted as its annotator deserves.

Votes and pairs go in, the probabilities of A, equal and B for each pair come out. Ties are Davidson's (1970): with
x = r_a − r_b, P(A) ∝ e^{x/2}, P(B) ∝ e^{−x/2}, P(equal) ∝ 2ν; scores r and ν are fitted together, by maximum a
posteriori. A vote's weight is its annotator's Cohen's kappa with all others (0 where it is negative, 1 where nobody
else answered): what remains of agreement once chance is taken off. So a pair's label also rests on what people said of
its two trajectories in other pairs.

References: Bradley & Terry 1952 · Davidson 1970 · weights by reliability as in Chen et al. 2013 (Crowd-BT), with kappa
in place of a fitted probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from preference.bradley_terry import davidson_loss
from preference.records import Answer, Pair
from qc_reports.agreement.coefficients import SCALE, confusions, kappas_of_tables
from qc_reports.agreement.vote_table import VoteTable

PENALTY = 0.1
"""λ of the prior on scores; a normal one of variance 1 / (2λ) = 5, so that a trajectory that always wins has a finite
score, and a pair on which two reliable people agree keeps their answer."""
LABEL = np.array([1.0, 0.5, 0.0])
"""Of agreement.SCALE: A, equal, B."""


def reliabilities(votes: Mapping[str, Mapping[str, Answer]]) -> dict[str, float]:
    """Annotator → weight in [0, 1]: Cohen's kappa over all votes of theirs beside each other's on the same pair."""
    names, tables = confusions(votes)
    pooled = np.zeros((len(names), 3, 3))
    for (i, j), table in tables.items():
        pooled[i] += table
        pooled[j] += table.T
    kappas = kappas_of_tables(pooled)
    return {
        name: 1.0 if not pooled[i].any() else max(0.0, float(kappas[i])) for i, name in enumerate(names)
    }  # fmt: skip


def weighted_bt(votes: VoteTable, pairs: Sequence[Pair], weights: Mapping[str, float]) -> np.ndarray:
    """(P, 3) float64: how probable A, equal and B are, for the table's pairs.

    Args:
        pairs: In any order; a pair whose trajectories are unknown stands for itself alone.
        weights: Annotator → weight, as `reliabilities` gives them.
    """
    from scipy.optimize import minimize

    a, b, items = _items(votes.pair_ids, pairs)
    weight = np.array([weights[name] for name in votes.annotators])[votes.annotator]
    label = LABEL[votes.answer]
    first, second = a[votes.pair], b[votes.pair]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        scores, log_nu = theta[:-1], float(theta[-1])
        value, by_x, by_nu = davidson_loss(scores[first] - scores[second], label, log_nu)
        slope = weight * by_x
        gradient = np.bincount(first, slope, items) - np.bincount(second, slope, items) + 2 * PENALTY * scores
        total = weight @ value + PENALTY * (scores @ scores + log_nu**2)
        return float(total), np.append(gradient, weight @ by_nu + 2 * PENALTY * log_nu)

    theta = minimize(objective, np.zeros(items + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    x, log_nu = theta[a] - theta[b], theta[-1]
    logits = np.stack([0.5 * x, np.full_like(x, math.log(2.0) + log_nu), -0.5 * x], axis=1)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def outcomes(chances: np.ndarray, votes: VoteTable, weights: Mapping[str, float]) -> np.ndarray:
    """(P,) int64, the place of each pair's label in SCALE: equal as often as the weighted votes say so, for those where
    it is most probable; else the side that is more probable.

    The most probable of the three would hardly ever be equal: at equal scores it has ν / (1 + ν), so where fewer than a
    third of the votes are ties, not even a pair that everybody calls equal.
    """
    weight = np.array([weights[name] for name in votes.annotators])[votes.annotator]
    tie = SCALE.index("equal")
    share = float(weight[votes.answer == tie].sum() / weight.sum()) if weight.any() else 0.0
    found = np.where(chances[:, 0] >= chances[:, 2], SCALE.index("A"), SCALE.index("B"))
    found[np.argsort(-chances[:, tie], kind="stable")[: round(share * len(found))]] = tie
    return found


def _items(pair_ids: Sequence[str], pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray, int]:
    """Each pair's two trajectories as numbers, and how many there are."""
    known = {pair.pair_id: pair for pair in pairs}
    number: dict[str, int] = {}
    sides: list[tuple[int, int]] = []
    for pair_id in pair_ids:
        pair = known[pair_id]
        names = (pair.trajectory_a_id or f"{pair_id} A", pair.trajectory_b_id or f"{pair_id} B")
        sides.append((number.setdefault(names[0], len(number)), number.setdefault(names[1], len(number))))
    table = np.array(sides, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1], len(number)
