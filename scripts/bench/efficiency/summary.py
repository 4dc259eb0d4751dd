"""What the courses say: mean curves, labels needed for what uniform reaches in the end, and who is behind whom.

Accuracies (courses, labels) in, figures out. Courses are drawn again by seed for every interval (bootstrap, 95 %),
because courses of one seed share their episodes, first labels and test pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from efficiency.course import LABELS, START, Course

DRAWS = 1_000
Curves = Mapping[Course, np.ndarray]


def needed(curve: np.ndarray, level: float) -> float:
    """Labels at which the curve reaches the level, between two points by a straight line; inf where it never does.

    The curve is made to rise first, so that one lucky point is not taken for an arrival.
    """
    rising = risen(curve)
    above = np.flatnonzero(rising >= level - 1e-12)
    if not len(above):
        return math.inf
    if above[0] == 0:
        return float(LABELS[0])
    first, last = above[0] - 1, above[0]
    share = (level - rising[first]) / (rising[last] - rising[first])
    return LABELS[first] + share * (LABELS[last] - LABELS[first])


def risen(curve: np.ndarray) -> np.ndarray:
    """The closest curve that never falls (isotonic regression): more labels do no harm, what falls is noise."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(curve).x


def pooled(curves: Curves, strategy: str, seeds: list[int], teacher: str = "") -> np.ndarray:
    """The mean curve of a strategy over the seeds (a seed may come twice), tasks, and one or all teachers."""
    rows = [
        curve
        for seed in seeds
        for course, curve in curves.items()
        if course.seed == seed and course.arm == strategy and teacher in ("", course.teacher)
    ]
    return np.mean(rows, axis=0)


def saving(curves: Curves, strategy: str, seeds: list[int], teacher: str = "") -> float:
    """How many times fewer labels: uniform's last count over what the strategy needs for the same accuracy."""
    level = risen(pooled(curves, "uniform", seeds, teacher))[-1]
    curve = pooled(curves, strategy, seeds, teacher)
    return LABELS[len(curve) - 1] / needed(curve, level)


def reached(curve: np.ndarray, labels: int) -> float:
    """The accuracy with so many labels, between two points by a straight line; the curve is made to rise first."""
    return float(np.interp(labels, LABELS[: len(curve)], risen(curve)))


def compared(curves: Curves, strategy: str, level: Callable[[list[int]], float], labels: int) -> dict[str, Any]:
    """How many times fewer labels a strategy needs than `labels` of something else.

    Args:
        level: Mean accuracy of that over some seeds.
    """
    seeds = sorted({course.seed for course in curves})

    def times(some: list[int]) -> float:
        return labels / needed(pooled(curves, strategy, some), level(some))

    return {
        "accuracy": round(level(seeds), 4),
        "labels_needed": _finite(needed(pooled(curves, strategy, seeds), level(seeds))),
        "saving": round(times(seeds), 2),
        "saving_95": [round(value, 2) for value in interval(times, seeds)],
    }


def interval(figure: Callable[[list[int]], float], seeds: list[int]) -> tuple[float, float]:
    """95 % of the figure over seeds drawn again."""
    rng = np.random.default_rng(0)
    drawn = [figure(rng.choice(seeds, len(seeds)).tolist()) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5], method="nearest")
    return float(low), float(high)


def lead(curves: Curves, strategy: str, task: str, teacher: str) -> tuple[float, float]:
    """Mean over the seeds, and half the 95 % interval (Student's t), of how far a strategy is ahead of uniform in one
    cell: the difference of the mean accuracies over all rounds, seed by seed."""
    from scipy.stats import t

    differences = [
        float(np.mean(curve[1:] - curves[replace(course, strategy="uniform", first=START, prior=True)][1:]))
        for course, curve in curves.items()
        if (course.task, course.teacher, course.arm) == (task, teacher, strategy)
    ]
    n = len(differences)
    half = float(t.ppf(0.975, n - 1)) * float(np.std(differences, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return float(np.mean(differences)), half


def figures(curves: Curves, strategies: list[str]) -> dict[str, Any]:
    """For each strategy: pooled curve, labels needed, saving with interval, the same by teacher, and its leads."""
    seeds = sorted({course.seed for course in curves})
    cells = sorted({(course.task, course.teacher) for course in curves})
    teachers = sorted({teacher for _, teacher in cells})
    level = float(risen(pooled(curves, "uniform", seeds))[-1])
    found: dict[str, Any] = {}
    for strategy in strategies:
        curve = pooled(curves, strategy, seeds)
        own: dict[str, Any] = {"accuracy": [round(float(value), 4) for value in curve]}
        own["labels_needed"] = _finite(needed(curve, level))
        own["saving"] = round(saving(curves, strategy, seeds), 2)
        own["saving_95"] = [round(v, 2) for v in interval(lambda s, own=strategy: saving(curves, own, s), seeds)]
        own["saving_by_teacher"] = {name: round(saving(curves, strategy, seeds, name), 2) for name in teachers}
        leads = {f"{task} {teacher}": lead(curves, strategy, task, teacher) for task, teacher in cells}
        own["lead"] = {name: [round(mean, 4), _finite(half, 4)] for name, (mean, half) in leads.items()}
        own["behind"] = [name for name, (mean, half) in leads.items() if mean + half < 0]
        found[strategy] = own
    return found


def _finite(value: float, digits: int = 0) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
