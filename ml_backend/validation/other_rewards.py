"""Other rewards beside ours: a file of scores goes in; figures of both on the same held-out pairs, with intervals, come
out.

A Parquet or CSV file with `trajectory_id`, or `episode_index` (and `dataset`, where the pool has several), and the
scores: one row per trajectory, or one per frame with `frame_index`. LeRobot's progress files are of this kind. The name
of the column says what it holds:

| column | per frame it is | the trajectory's score is |
| --- | --- | --- |
| `reward` | what this step is worth | the mean |
| `score`, `progress`, `progress_sparse`, `progress_dense`, `success` | how far the episode is | the value at the end |

Rows whose `playback` is `cycle` score the episode played to its end and then back to its beginning, with
`frame_index` counted on; only the cycle form of the value-order correlation looks at them.

The figures:

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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.parquet import read_limited
from ml_backend.reward.dataset import Pairs, average_precision
from ml_backend.validation.accuracy import DRAWS, share
from ml_backend.validation.probes import groups
from preference.artifacts import read_csv
from preference.errors import DataError
from preference.records import Trajectory

if TYPE_CHECKING:
    import pandas as pd

MEANS, ENDS = ("reward",), ("score", "progress", "progress_sparse", "progress_dense", "success")
KEYS = ("trajectory_id", "dataset", "episode_index", "frame_index", "playback")
FORWARD, CYCLE = "forward", "cycle"
OURS, CLOCK = "this model", "time ramp"


@dataclass(frozen=True)
class Scores:
    """What one reward says of N trajectories."""

    name: str
    score: np.ndarray
    """(N,) float64, higher is better."""
    courses: Sequence[np.ndarray] = ()
    """Per trajectory its value at each frame, (T,); empty where the reward gives none."""
    cycles: Sequence[np.ndarray] = ()
    """The same of the episode played forwards and then backwards."""
    of: str = field(default="", compare=False)
    """How `score` comes from the file, in words."""


def read_scores(path: Path, trajectories: Sequence[Trajectory]) -> Scores:
    """The scores of `trajectories`, in their order; further rows of the file are left aside.

    Raises:
        DataError: naming the file, the column or the trajectory, what was found and what was expected.
    """
    table = _table(path)
    column = next((name for name in (*MEANS, *ENDS) if name in table), "")
    if not column:
        found = ", ".join(map(str, table.columns)) or "no columns"
        raise DataError(
            f"{path}: no column of scores; found {found}.", fix=f"Expected one of {', '.join((*MEANS, *ENDS))}."
        )
    values = _numbers(path, table, column)
    known = _rows_of(path, table, trajectories)
    if missing := [t.trajectory_id for t in trajectories if t.trajectory_id not in known]:
        raise DataError(
            f"{path}: {len(missing)} of {len(trajectories)} compared trajectories have no score, the first is "
            f"{missing[0]!r}.",
            fix="Are these scores of other episodes? Score every trajectory of the held-out pairs.",
        )
    for name in (t.trajectory_id for t in trajectories):
        if (wrong := ~np.isfinite(values[known[name]])).any():
            row = int(known[name][np.argmax(wrong)]) + 1
            raise DataError(f"{path}, {column}, row {row}, {name!r}: expected a number, found nan or infinity.")
    frames = _numbers(path, table, "frame_index") if "frame_index" in table else None
    plays = table["playback"].astype(str).to_numpy() if "playback" in table else np.full(len(table), FORWARD)
    if others := sorted(set(plays) - {FORWARD, CYCLE}):
        raise DataError(f"{path}, playback: expected {FORWARD} or {CYCLE}, found {others[0]!r}.")
    forward = [_course(path, t, values, frames, known[t.trajectory_id], plays, FORWARD) for t in trajectories]
    if short := [t.trajectory_id for t, own in zip(trajectories, forward, strict=True) if not len(own)]:
        raise DataError(f"{path}: {short[0]!r} has no row whose playback is {FORWARD}.")
    cycles = [_course(path, t, values, frames, known[t.trajectory_id], plays, CYCLE) for t in trajectories]
    last = column in ENDS
    return Scores(
        name=path.stem,
        score=np.array([own[-1] if last else own.mean() for own in forward]),
        courses=forward if frames is not None else (),
        cycles=cycles if all(map(len, cycles)) else (),
        of=column if frames is None else f"{column} {'at the end' if last else 'on average'}",
    )


def _rows_of(path: Path, table: pd.DataFrame, trajectories: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """trajectory_id → its rows in the file."""
    if "trajectory_id" in table:
        rows = table.groupby("trajectory_id").indices
        return {str(key): np.asarray(found) for key, found in rows.items()}
    if "episode_index" not in table:
        found = ", ".join(map(str, table.columns))
        raise DataError(f"{path}: the column trajectory_id or episode_index is missing; found {found}.")
    numbers = _numbers(path, table, "episode_index")
    names = {t.dataset for t in trajectories}
    if "dataset" in table:
        keys = list(zip(table["dataset"].astype(str), numbers, strict=True))
    elif len(names) == 1:
        keys = [(next(iter(names)), number) for number in numbers]
    else:
        raise DataError(
            f"{path}: episode_index does not tell which of {len(names)} datasets: {', '.join(sorted(names))}.",
            fix="Add the column dataset, or trajectory_id.",
        )
    places: dict[tuple[str, float], list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    found = {t.trajectory_id: places.get((t.dataset, t.episode_index), []) for t in trajectories}
    return {name: np.array(rows) for name, rows in found.items() if rows}


def _course(
    path: Path, t: Trajectory, values: np.ndarray, frames: np.ndarray | None, rows: np.ndarray, plays: np.ndarray,
    playback: str,
) -> np.ndarray:  # fmt: skip
    """Its values in the order of time.

    Raises:
        DataError: a frame appears twice, or the episode has no such frame.
    """
    rows = rows[plays[rows] == playback]
    if frames is None:
        if len(rows) > 1:
            raise DataError(
                f"{path}: {t.trajectory_id!r} has {len(rows)} rows, expected one.",
                fix="Scores of single frames need the column frame_index.",
            )
        return values[rows]
    own = frames[rows]
    number, times = Counter(own.tolist()).most_common(1)[0] if len(own) else (0, 1)
    if times > 1:
        raise DataError(f"{path}: frame {number:g} of {t.trajectory_id!r} has {times} scores, expected one.")
    most = t.num_frames * (2 if playback == CYCLE else 1)
    if len(own) and t.num_frames and not 0 <= own.min() <= own.max() < most:
        raise DataError(
            f"{path}: {t.trajectory_id!r} has {t.num_frames} frames, found a score of frame {own.max():g}.",
            fix="Are these scores of another dataset, or at another frame rate?",
        )
    return values[rows[np.argsort(own)]]


def _numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    import pandas as pd

    found = pd.to_numeric(table[column], errors="coerce")
    if (wrong := found.isna() & table[column].notna()).any():
        row = int(np.argmax(wrong.to_numpy()))
        raise DataError(f"{path}, {column}, row {row + 1}: expected a number, found {table[column].iloc[row]!r}.")
    return found.to_numpy(dtype=float)


def _table(path: Path) -> pd.DataFrame:
    """
    Raises:
        DataError: the file is missing, or neither Parquet nor CSV.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return read_csv(path)
    try:
        names = [name for name in pq.read_schema(path).names if name in (*KEYS, *MEANS, *ENDS)]
        return read_limited(path, names).to_pandas()
    except FileNotFoundError:
        raise DataError(f"File not found: {path}.") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from None


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
