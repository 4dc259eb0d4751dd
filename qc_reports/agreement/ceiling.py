"""What would a model score that always knows the better trajectory? Resolved labels and their votes go in.

A label is wrong where people were. How often they are, ρ among answers that name a side, shows in how often two of them
name opposite sides of one pair: d = 2ρ(1 − ρ). A label with k more votes for it than against it is then right with
probability 1 / (1 + (ρ / (1 − ρ))^k) (Bayes; both sides are equally likely beforehand), and the mean over the labels
that name a side is the ceiling. With people right in 0.8 and a third opinion where two differ it is 0.90.

That takes all pairs of a stratum for equally hard, and no model can pass it. Two votes a pair cannot tell that from the
other extreme with the same d: 2d of the pairs are toss-ups, and on all others everybody is right. Then a label on which
anybody differs is right in one half, and of n who agree, on a toss-up they do so with probability 2^(1 − n). The truth
lies between, and so does the interval reach from one to the other (`scripts/bench/ceiling.py`).

d has a posterior: a Bayesian bootstrap over pairs (Rubin 1981) in which, beside the pairs seen, half a pair on which
two agree and half a pair on which they differ are drawn. For two people a pair that is Jeffreys' posterior, so that
twenty pairs on which nobody differs do not claim people who never err.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from preference.records import LABELS, Preference
from qc_reports.answers import Answered

DRAWS = 1000
FEWEST = 30
"""Twos of sided answers in a stratum from which on it has an error rate of its own."""


def noise_ceiling(
    preferences: Sequence[Preference], answers: Iterable[Answered], rng: np.random.Generator
) -> dict[str, float]:
    """`value`, where all pairs of a stratum are equally hard; `low` and `high`, its 95 % interval, whose lower end is
    that of the other extreme; and `pairs`, the labels that name a side. nan where no two people named a side of one
    pair, or no label names one.

    Args:
        preferences: The labels; whose votes count, `annotator_ids` says.
        answers: Everybody's.
    """
    counted = {p.pair_id: set(p.annotator_ids) for p in preferences}
    ballots: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        if not answer.duplicate and answer.annotator_id in counted.get(answer.pair_id, ()):
            ballots[answer.pair_id].append(answer)
    strata: dict[str, list[tuple[int, int, int, int, int]]] = defaultdict(list)
    for preference in preferences:
        if own := ballots[preference.pair_id]:
            strata[own[0].stratum].append(_row(preference, own))
    few = [name for name, rows in strata.items() if sum(row[0] for row in rows) < FEWEST]
    rest = [row for name in few for row in strata.pop(name)]
    groups = [np.array(rows) for rows in (*strata.values(), rest) if rows]
    return _ceiling(groups, rng)


def _row(preference: Preference, own: Sequence[Answered]) -> tuple[int, int, int, int, int]:
    """Twos of planned sided answers, how many of them differ, whether the label names a side, votes for and against."""
    sides = [LABELS[answer.preference] for answer in own if not answer.third]
    a, b = sides.count(1.0), sides.count(0.0)
    twos, label = (a + b) * (a + b - 1) // 2, preference.preference
    if label not in (0.0, 1.0):
        return twos, a * b, 0, 0, 0
    said = [LABELS[answer.preference] for answer in own]
    return twos, a * b, 1, said.count(label), said.count(1.0 - label)


def _ceiling(groups: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """From each stratum's (P, 5) rows; pairs with the same row are drawn together."""
    whole = np.concatenate([np.zeros((0, 5), int), *groups])
    labels = int(whole[:, 2].sum())
    if not labels or not whole[:, 0].sum():
        return {"value": math.nan, "low": math.nan, "high": math.nan, "pairs": labels}
    alike, apart, named = np.zeros((3, DRAWS))
    for rows in groups:
        types, times = np.unique(rows, axis=0, return_counts=True)
        weights = rng.gamma(times, size=(DRAWS, len(times)))
        agree, differ = rng.gamma(0.5, size=(2, DRAWS))
        twos, differing, sided, votes, against = types.T.astype(float)
        share = np.minimum((weights @ differing + differ) / (weights @ twos + agree + differ), 0.5)[:, None]
        alike += (weights * sided * _equally_hard(share, votes - against)).sum(axis=1)
        apart += (weights * sided * _toss_ups(share, votes, against)).sum(axis=1)
        named += weights @ sided
    low, high = np.percentile(apart / named, 2.5), np.percentile(alike / named, 97.5)
    return {"value": float(np.mean(alike / named)), "low": float(low), "high": float(high), "pairs": labels}


def _equally_hard(differ: np.ndarray, lead: np.ndarray) -> np.ndarray:
    """(DRAWS, types): how probable it is that labels with such a lead are right, if two differ so often, (DRAWS, 1)."""
    error = 0.5 * (1.0 - np.sqrt(1.0 - 2.0 * differ))
    return 1.0 / (1.0 + (error / (1.0 - error)) ** lead)


def _toss_ups(differ: np.ndarray, votes: np.ndarray, against: np.ndarray) -> np.ndarray:
    """The same, if all who differ do so on pairs that are toss-ups, 2 `differ` of all."""
    by_luck = 2.0 * differ * 2.0 ** (1.0 - votes)
    sure = (1.0 - 2.0 * differ) / np.maximum(1.0 - 2.0 * differ + by_luck, 1e-12)
    return np.where(against > 0, 0.5, 0.5 + 0.5 * sure)
