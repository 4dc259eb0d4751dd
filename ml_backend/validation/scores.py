"""Another reward's scores: a file goes in, one score a trajectory and its course over time come out.

A Parquet or CSV file with `trajectory_id`, or `episode_index` (and `dataset`, where the pool has several), and the
scores: one row per trajectory, or one per frame with `frame_index`. LeRobot's progress files are of this kind. The name
of the column says what it holds:

| column | per frame it is | the trajectory's score is |
| --- | --- | --- |
| `reward` | what this step is worth | the mean |
| `score`, `progress`, `progress_sparse`, `progress_dense`, `success` | how far the episode is | the value at the end |

Rows whose `playback` is `cycle` score the episode played to its end and then back to its beginning, with
`frame_index` counted on; only the cycle form of the value-order correlation looks at them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.pool.parquet import read_limited
from preference.artifacts import read_csv
from preference.errors import DataError
from preference.records import Trajectory

if TYPE_CHECKING:
    import pandas as pd

MEANS, ENDS = ("reward",), ("score", "progress", "progress_sparse", "progress_dense", "success")
KEYS = ("trajectory_id", "dataset", "episode_index", "frame_index", "playback")
FORWARD, CYCLE = "forward", "cycle"


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
