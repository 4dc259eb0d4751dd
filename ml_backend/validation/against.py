"""Our reward and others' side by side, on the same held-out pairs: scores in, figures with intervals out.

| figure | of | source |
| --- | --- | --- |
| `accuracy` | pairs of which people preferred one; equal scores count one half | |
| `ahead` | our accuracy minus theirs, pair by pair | |
| `kendall` | tau-a over all pairs: (right − wrong) / pairs; a tie of people or scores is neither | Kendall 1938 |
| `success_auprc` | the pairs' trajectories: average precision of success by score, within each task type | |
| `success_gap` | mean score of successes minus that of failures, in the scores' own standard deviations | |
| `voc` | successes: rank correlation of the value with time | Ma et al. 2024, GVL |
| `cycle_voc` | the same episodes played forwards, then backwards: with the way to the turning point | |

A clock has a `voc` of 1 and a `cycle_voc` of 0, so the first alone says little. Intervals are 95 % bootstrap intervals
over pairs, or over trajectories within their task type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ml_backend.reward.dataset import Pairs, average_precision
from ml_backend.validation.accuracy import DRAWS, share
from ml_backend.validation.probes import groups
from ml_backend.validation.scores import Scores
from preference.records import Trajectory

OURS, CLOCK = "this model", "time ramp"


def side_by_side(
    rewards: Sequence[Scores], trajectories: Sequence[Trajectory], pairs: Pairs, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Name → its figures, each with value, low, high and `pairs` or `trajectories`, what it was measured on.

    Args:
        rewards: Of `trajectories`; ours first, `ahead` is measured from it.
        pairs: Held out; a and b index `trajectories`.
    """
    first = _points(rewards[0].score, pairs)
    draws = [rng.integers(len(first), size=len(first)) for _ in range(DRAWS if len(first) else 0)]
    ordered = [rng.integers(len(pairs), size=len(pairs)) for _ in range(DRAWS if len(pairs) else 0)]
    resampled = [_within_tasks(trajectories, rng) for _ in range(DRAWS)]
    return {
        one.name: {
            "of": one.of,
            "accuracy": _accuracy(_points(one.score, pairs), draws),
            "ahead": _mean(first - _points(one.score, pairs), draws),
            "kendall": _mean(_orders(one.score, pairs), ordered),
            "success_auprc": _by_success(average_precision, one.score, trajectories, resampled),
            "success_gap": _by_success(_gap, one.score, trajectories, resampled),
            "voc": _courses(one.courses, np.arange, trajectories, rng),
            "cycle_voc": _courses(one.cycles, _there_and_back, trajectories, rng),
        }
        for one in rewards
    }


def clock(trajectories: Sequence[Trajectory]) -> Scores:
    """The reward of whoever looks at the clock alone: the seconds that have passed."""
    seconds = np.array([t.seen_s for t in trajectories])
    return Scores(CLOCK, seconds, [np.arange(100.0)] * len(seconds), [np.arange(200.0)] * len(seconds), "seconds")


def rank_correlation(values: np.ndarray, order: np.ndarray) -> float:
    """Spearman's; nothing that changes is no order, 0."""
    from scipy.stats import spearmanr

    if len(values) < 2:
        return math.nan
    found: Any = spearmanr(values, order) if np.ptp(values) > 0 else None
    return float(found.statistic) if found else 0.0


def _points(score: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(M,) per pair that is no tie: 1 right, 0 wrong, ½ where both scores are equal."""
    clear = pairs.label != 0.5
    x = (score[pairs.a] - score[pairs.b])[clear]
    return 0.5 + 0.5 * np.sign(x) * np.sign(pairs.label[clear] - 0.5)


def _orders(score: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(P,) per pair 1 where both name the same one, −1 where they name different ones, otherwise 0."""
    return np.sign(score[pairs.a] - score[pairs.b]) * np.sign(pairs.label - 0.5)


def _accuracy(points: np.ndarray, draws: Sequence[np.ndarray]) -> dict[str, Any]:
    """With Wilson's interval where all are right or all wrong: resampling four of four would claim certainty."""
    return share(points > 0.5) if set(points.tolist()) in ({0.0}, {1.0}) else _mean(points, draws)


def _mean(values: np.ndarray, draws: Sequence[np.ndarray]) -> dict[str, Any]:
    value = float(values.mean()) if len(values) else math.nan
    return _interval(value, [values[rows].mean() for rows in draws]) | {"pairs": len(values)}


def _interval(value: float, samples: Sequence[float]) -> dict[str, Any]:
    kept = [sample for sample in samples if math.isfinite(sample)]
    low, high = np.percentile(kept, [2.5, 97.5]) if kept and math.isfinite(value) else (math.nan, math.nan)
    return {"value": value, "low": float(low), "high": float(high)}


def _within_tasks(trajectories: Sequence[Trajectory], rng: np.random.Generator) -> dict[str, np.ndarray]:
    known = _judged(trajectories)
    return {task: rows[rng.integers(len(rows), size=len(rows))] for task, rows in known.items()}


def _judged(trajectories: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """Task type → the trajectories whose success is known."""
    known = np.array([t.success is not None for t in trajectories], bool)
    found = {task: rows[known[rows]] for task, rows in groups(trajectories).items()}
    return {task: rows for task, rows in found.items() if len(rows)}


def _by_success(
    measure: Callable[[np.ndarray, np.ndarray], float],
    score: np.ndarray,
    trajectories: Sequence[Trajectory],
    resampled: Sequence[dict[str, np.ndarray]],
) -> dict[str, Any]:
    """The mean over task types that have both outcomes, weighted by their trajectories."""
    success = np.array([bool(t.success) for t in trajectories])

    def over(tasks: dict[str, np.ndarray]) -> float:
        found = [(measure(score[rows], success[rows]), len(rows)) for rows in tasks.values()]
        found = [(value, size) for value, size in found if math.isfinite(value)]
        values, sizes = zip(*found, strict=True) if found else ((math.nan,), (1,))
        return float(np.average(values, weights=sizes))

    whole = _judged(trajectories)
    known = sum(len(rows) for rows in whole.values())
    return _interval(over(whole), [over(tasks) for tasks in resampled]) | {"trajectories": known}


def _gap(scores: np.ndarray, success: np.ndarray) -> float:
    if success.all() or not success.any():
        return math.nan
    return float(scores[success].mean() - scores[~success].mean()) / max(float(scores.std()), 1e-12)


def _there_and_back(steps: int) -> np.ndarray:
    """0, 1, …, up to the middle, and down again."""
    return np.minimum(np.arange(steps), np.arange(steps)[::-1])


def _courses(
    courses: Sequence[np.ndarray],
    expected: Callable[[int], np.ndarray],
    trajectories: Sequence[Trajectory],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The mean over successes: of a failure nobody knows how far it came. Over all where no success is known."""
    if not courses:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "trajectories": 0}
    rows = [i for i, t in enumerate(trajectories) if t.success] or list(range(len(trajectories)))
    found = np.array([rank_correlation(courses[i], expected(len(courses[i]))) for i in rows])
    found = found[np.isfinite(found)]
    value = float(found.mean()) if len(found) else math.nan
    samples = [found[rng.integers(len(found), size=len(found))].mean() for _ in range(DRAWS if len(found) else 0)]
    return _interval(value, samples) | {"trajectories": len(found)}
