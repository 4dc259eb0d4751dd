"""Is another round worth people's time? The models so far go in; a reason to stop, or the expected gain, comes out.

Accuracy on pairs that no rule chose is taken to be 1 − e∞ − a/√n over n labels, so what more labels bring is linear in
a: from n to n + r it is a (1/√n − 1/√(n + r)). The posterior of a comes from a normal prior, as the learning curves of
`scripts/bench/label_efficiency.py` have it, and from the courses' own accuracies; their noise is that of the fit, with
the noise of so many test pairs as its prior. All models are tested on mostly the same pairs: what these have in common
is in e∞ and does not count.

A round is not made once even the upper end of a's interval says that one more point of accuracy takes more than
`active.most_per_point` labels, twice in a row; a curve that is only too noisy to rise goes on. That is rarely too early
and often late (`scripts/bench/stopping.py`): under 200 test pairs cannot show a gain of a tenth of a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.validation.learning_curve import POINT
from preference.config import Active
from preference.formats import interval
from preference.records import ModelVersion

FEWEST = 4
"""Models before anything is said."""
PRIOR, PRIOR_SD = 0.7, 0.25
"""Of a: 0.4 for the shrunk linear model and 1.0 for the ensemble on Meta-World at 25 to 400 labels."""
PRIOR_ROUNDS = 4.0
"""How many rounds the prior of the noise counts for."""
Z = 2.3
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
    course = _course(models)
    if not course:
        return ""
    labels, _, _ = course[-1]
    if active.budget and labels >= active.budget:
        return f"{labels} pairs have labels, and active.budget is {active.budget}; {_standing(models)}. --force goes on"
    now, before = outlook(course, active), outlook(course[:-1], active)
    if not active.most_per_point or now is None or before is None:
        return ""
    if max(now.point_at_best, before.point_at_best) >= POINT:
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
    labels, accuracies, tested = np.array(course, float).T
    x, y = labels**-0.5, 1.0 - accuracies
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    residual = float(((y - slope * x) ** 2).sum())
    expected = accuracies[-1] * (1.0 - accuracies[-1]) / tested[-1]
    noise = max((residual + PRIOR_ROUNDS * expected) / (len(course) - 2 + PRIOR_ROUNDS), 1e-12)
    precision = spread / noise + PRIOR_SD**-2
    mean = (slope * spread / noise + PRIOR / PRIOR_SD**2) / precision
    half = Z / math.sqrt(precision)
    now = float(labels[-1])
    share = now**-0.5 - (now + active.pairs) ** -0.5
    most = now**-0.5 - (now + max(active.most_per_point, 1)) ** -0.5
    return Outlook(mean * share, (mean - half) * share, (mean + half) * share, (mean + half) * most)


def _course(models: Sequence[ModelVersion]) -> list[tuple[int, float, int]]:
    """Cross-validated accuracy on pairs that no rule chose: chosen ones get harder as rounds go on, and would make
    every curve flat. The newest model of each number of labels."""
    found: dict[int, tuple[int, float, int]] = {}
    for record in models:
        figures = _figures(record)
        if figures.get("value") is not None and figures.get("pairs"):
            found[record.preferences] = (record.preferences, float(figures["value"]), int(figures["pairs"]))
    return [found[labels] for labels in sorted(found)]


def _figures(record: ModelVersion) -> dict[str, float]:
    return record.metrics.get("not_chosen") or record.metrics.get("cross_validated") or {}


def _standing(models: Sequence[ModelVersion]) -> str:
    """Where accuracy stands to the protocol's target."""
    figures, target = _figures(models[-1]), models[-1].metrics.get("target")
    now = f"accuracy is {interval(figures.get('value'), figures.get('low'), figures.get('high'), 2)}"
    low, high = figures.get("low"), figures.get("high")
    if target is None or low is None or high is None:
        return now
    if low >= target:
        return f"{now}, above the target of {target:.2f}"
    if high < target:
        return f"{now}, below the target of {target:.2f}: more of the same will not reach it"
    return f"{now}, so the target of {target:.2f} may or may not be reached"
