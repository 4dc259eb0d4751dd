"""Weak pairs: what the pool's quality says before anybody has answered, as a prior that labels overrule.

Labelled pairs and the pool's quartiles come in; pairs that are two or three quartiles apart go out, the better one
first. Rankings that cost nothing teach a reward something (D-REX, Brown, Goo and Niekum 2020), if they are right. How
often they are wrong is asked of the labels, and believed to be worse than it looks: a quality that labels do not bear
out, or that nobody has said anything of yet, is not learned from. Pure numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml_backend.reward.dataset import Pairs, Quartiles, Split

COUNT = 200
"""Weak pairs, at most."""
DRAWN = 100
"""Times as many pairs are drawn: with T task types one in 5 T is of one task type and far enough apart."""
SEEN = 20
"""Of them an epoch draws so many, and no more than it has labelled pairs: each weighs half a label or more, and costs
as much time as one."""
WORTH = 10.0
"""Labels that all of them together count as, so they count for less and less as labels come in. On the two pools of
faucet-open and drawer-open that this was chosen on, 30 were better with 20 labels and no better with 50."""
APART = 2
"""Quartiles between the two."""


@dataclass(frozen=True)
class WeakPairs:
    """M pairs of which the quality says that the first is better."""

    better: np.ndarray
    worse: np.ndarray
    """(M,) int64, trajectories as in `Pairs`."""
    slip: float
    """Probability that people would say the opposite, below ½."""

    def figures(self) -> dict[str, float]:
        """For people, and for the model's files."""
        return {"pairs": len(self.better), "labels": WORTH, "contradicted": round(self.slip, 4)}


def weak_pairs(pairs: Pairs, split: Split, ties: str, rng: np.random.Generator) -> WeakPairs | None:
    """None where the quality is not known, or labels do not bear it out.

    No pair that has a label is one of them, and no trajectory that is compared in test pairs alone: what is said of
    trajectories that were never seen stays true.
    """
    known = pairs.quartiles
    if known is None:
        return None
    learned = np.concatenate([split.train, split.validation])
    telling = learned[pairs.label[learned] != 0.5] if ties == "drop" else learned
    slip = contradicted(pairs, telling, known)
    if slip >= 0.5:
        return None
    n = len(known.quartile)
    seen = np.ones(n, bool)
    seen[_ends(pairs, split.test)] = False
    seen[_ends(pairs, learned)] = True
    better, worse = rng.integers(n, size=(2, DRAWN * COUNT))
    labelled = np.concatenate([pairs.a * n + pairs.b, pairs.b * n + pairs.a])
    kept = (known.steps(better, worse) >= APART) & seen[better] & seen[worse]
    codes = (better * n + worse)[kept]
    codes = np.unique(codes[~np.isin(codes, labelled)])
    codes = rng.permutation(codes)[:COUNT]
    return WeakPairs(codes // n, codes % n, slip) if len(codes) else None


def seen_an_epoch(labelled: int) -> int:
    """How many weak pairs an epoch draws, at most, beside so many labelled pairs."""
    return min(SEEN, labelled)


def contradicted(pairs: Pairs, rows: np.ndarray, known: Quartiles) -> float:
    """How often labels of `rows` contradict the quartiles, at worst: mean and standard deviation of the beta posterior
    added up, from a uniform prior. Pairs of neighbouring quartiles count too: there are more of them, and that they are
    contradicted more often errs on the safe side."""
    steps = known.steps(pairs.a[rows], pairs.b[rows])
    ordered = steps != 0
    wrong = float(np.abs(pairs.label[rows] - (steps > 0))[ordered].sum())
    alpha, beta = 1.0 + wrong, 1.0 + float(ordered.sum()) - wrong
    total = alpha + beta
    return alpha / total + math.sqrt(alpha * beta / (total + 1.0)) / total


def _ends(pairs: Pairs, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([pairs.a[rows], pairs.b[rows]])
