"""How much would more comparisons bring? Accuracy by the number of training pairs, and its extrapolation.

The error is fitted as e(n) = e∞ + a / √n with both at least 0 (Cortes et al. 1994, with the exponent of a parametric
estimate): three or four noisy points do not carry a third unknown. What is read off is an extrapolation and is told as
one; where the curve is flat, no number of comparisons is given.

Is another round worth people's time? The models so far go in; a reason to stop, or the expected gain, comes out.

Accuracy on pairs that no rule chose is taken to be 1 − e∞ − a/√n over n labels, so what more labels bring is linear in
a: from n to n + r it is a (1/√n − 1/√(n + r)). The posterior of a and e∞ is that of a linear model with known noise
(generalized least squares): that of so many test pairs, most of which every model of the course is tested on, and which
all models mostly get right or wrong alike. The prior of a is as the learning curves of
`scripts/bench/label_efficiency.py` have it.

A round is not made once even the upper end of a's interval says that one more point of accuracy takes more than
`active.most_per_point` labels; a curve that is only too noisy to rise goes on. That is rarely too early and often late,
as any rule must be: under 200 test pairs cannot show a gain of a tenth of a point (`scripts/bench/stopping.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preference.config import Active
from preference.formats import interval
from preference.records import ModelVersion

TARGETS = {"single_task": 0.75, "multi_task": 0.65, "spearman": 0.6}
"""The protocol's."""
SHARES = (0.25, 0.5, 0.75, 1.0)
REPEATS = 3
"""Draws of each smaller share."""
POINT = 0.01
FURTHEST = 20.0
"""An extrapolation to more than so many times the present pairs means nothing."""


def learning_curve(
    train: np.ndarray, accuracies: Callable[[list[np.ndarray], list[int]], Sequence[float]], rng: np.random.Generator
) -> dict[str, Any]:
    """Points, fit and extrapolation.

    Args:
        train: Rows of the training pairs.
        accuracies: Parts of these rows, and each one's number among those of its size → accuracy on the test pairs of
            a model trained on that part alone.
    """
    draws = [(max(2, round(share * len(train))), n) for share in SHARES for n in range(1 if share == 1.0 else REPEATS)]
    values = accuracies([np.sort(rng.permutation(train)[:size]) for size, _ in draws], [number for _, number in draws])
    by_size: dict[int, list[float]] = {}
    for (size, _), value in zip(draws, values, strict=True):
        by_size.setdefault(size, []).append(value)
    points = [{"pairs": n, "accuracy": float(np.mean(own)), "repeats": len(own)} for n, own in by_size.items()]
    return {"points": points} | fit([p["pairs"] for p in points], [p["accuracy"] for p in points])


def fit(pairs: Sequence[int], accuracies: Sequence[float]) -> dict[str, Any]:
    """`limit` (accuracy with endless comparisons), `slope` (a), `more_pairs` for one more point (None where flat)."""
    from scipy.optimize import nnls

    sizes, errors = np.asarray(pairs, float), 1.0 - np.asarray(accuracies, float)
    if len(sizes) < 2 or not np.isfinite(errors).all():
        return {"limit": math.nan, "slope": math.nan, "more_pairs": None}
    (floor, slope), _ = nnls(np.stack([np.ones(len(sizes)), sizes**-0.5], axis=1), errors)
    return {"limit": 1.0 - float(floor), "slope": float(slope), "more_pairs": _more(float(slope), float(sizes.max()))}


def _more(slope: float, now: float) -> int | None:
    """Comparisons beyond `now` until the fitted error is `POINT` smaller."""
    left = slope / math.sqrt(now) - POINT
    if left <= 0:
        return None
    needed = (slope / left) ** 2
    return math.ceil(needed - now) if needed <= FURTHEST * now else None


FEWEST = 4
"""Models before anything is said."""
PRIOR, PRIOR_SD = 0.7, 0.25
"""Of a: 0.4 for the shrunk linear model and 1.0 for the ensemble on Meta-World at 25 to 400 labels."""
LIMIT, LIMIT_SD = 0.1, 0.2
"""Of e∞."""
ALIKE = 0.7
"""Correlation, between two models of a course, of whether a test pair is right."""
Z = 1.96
"""Half-width of the interval in standard deviations."""


@dataclass(frozen=True)
class Outlook:
    """What the course so far says of the next round."""

    gain: float
    low: float
    high: float
    """Accuracy that the next round is expected to bring, with its interval."""
    point_at_best: float
    """Accuracy that `active.most_per_point` labels bring at best: the upper end."""


def why_stop(models: Sequence[ModelVersion], active: Active) -> str:
    """Why no round should be made, and whether the target is reached; empty where asking goes on.

    Args:
        models: All versions, in order.
    """
    course = course_of(models)
    if not course:
        return ""
    labels, _, _ = course[-1]
    if active.budget and labels >= active.budget:
        return f"{labels} pairs have labels, and active.budget is {active.budget}; {_standing(models)}. --force goes on"
    now = outlook(course, active)
    if not active.most_per_point or now is None or now.point_at_best >= POINT:
        return ""
    points = interval(100 * now.gain, 100 * now.low, 100 * now.high, 2)
    return (
        f"the next {active.pairs} pairs are expected to bring {points} points of accuracy, and one more point takes "
        f"more than active.most_per_point = {active.most_per_point} pairs at best; {_standing(models)}. --force goes on"
    )


def outlook(course: Sequence[tuple[int, float, int]], active: Active) -> Outlook | None:
    """None where there are too few models.

    Args:
        course: (labels, accuracy, test pairs) of each model, by labels.
    """
    if len(course) < FEWEST:
        return None
    mean, half = _slope(course)
    now = float(course[-1][0])
    share = now**-0.5 - (now + active.pairs) ** -0.5
    most = now**-0.5 - (now + max(active.most_per_point, 1)) ** -0.5
    return Outlook(mean * share, (mean - half) * share, (mean + half) * share, (mean + half) * most)


def _slope(course: Sequence[tuple[int, float, int]]) -> tuple[float, float]:
    """a of 1 − e∞ − a/√n, and half the width of its interval."""
    labels, accuracies, tested = np.array(course, float).T
    right = (accuracies[-1] * tested[-1] + 1.0) / (tested[-1] + 2.0)
    noise = right * (1.0 - right) * np.where(np.eye(len(course)), 1.0, ALIKE) / np.maximum(tested[:, None], tested)
    x = np.stack([labels**-0.5, np.ones(len(course))], axis=1)
    weighted, prior = np.linalg.solve(noise, x), np.diag([PRIOR_SD**-2, LIMIT_SD**-2])
    variance = np.linalg.inv(x.T @ weighted + prior)
    mean = variance @ (weighted.T @ (1.0 - accuracies) + prior @ [PRIOR, LIMIT])
    return float(mean[0]), Z * math.sqrt(variance[0, 0])


@dataclass(frozen=True)
class Needed:
    """Labelled pairs until a target is reached; None where more labels do not reach it."""

    expected: int | None
    best: int | None
    worst: int | None


def labels_for(target: float, models: Sequence[ModelVersion]) -> Needed | None:
    """What the learning curve so far says of a target accuracy; None before there is a model.

    With one model the slope is the prior's. The newest model's own accuracy is taken as it is: its interval is wider
    than what the slope adds.
    """
    course = course_of(models)
    if not course:
        return None
    mean, half = _slope(course)
    labels, reached, _ = course[-1]

    def needed(slope: float) -> int | None:
        if reached >= target:
            return labels
        left = labels**-0.5 - (target - reached) / slope if slope > 0 else 0.0
        return math.ceil(left**-2) if left > 0 and left**-2 <= FURTHEST * labels else None

    return Needed(needed(mean), needed(mean + half), needed(mean - half))


def course_of(models: Sequence[ModelVersion]) -> list[tuple[int, float, int]]:
    """Cross-validated accuracy on pairs that no rule chose: chosen ones get harder as rounds go on, and would make
    every curve flat. The newest model of each number of labels."""
    found: dict[int, tuple[int, float, int]] = {}
    for record in models:
        figures = accuracy_of(record)
        if figures.get("value") is not None and figures.get("pairs"):
            found[record.preferences] = (record.preferences, float(figures["value"]), int(figures["pairs"]))
    return [found[labels] for labels in sorted(found)]


def accuracy_of(record: ModelVersion) -> dict[str, float]:
    """`value`, `low`, `high` and `pairs` on pairs that no rule chose, else cross-validated; empty if unknown."""
    return record.metrics.get("not_chosen") or record.metrics.get("cross_validated") or {}


def _standing(models: Sequence[ModelVersion]) -> str:
    """Where accuracy stands to the protocol's target."""
    figures, target = accuracy_of(models[-1]), models[-1].metrics.get("target")
    now = f"accuracy is {interval(figures.get('value'), figures.get('low'), figures.get('high'), 2)}"
    low, high = figures.get("low"), figures.get("high")
    if target is None or low is None or high is None:
        return now
    if low >= target:
        return f"{now}, above the target of {target:.2f}"
    if high < target:
        return f"{now}, below the target of {target:.2f}: more of the same will not reach it"
    return f"{now}, so the target of {target:.2f} may or may not be reached"
