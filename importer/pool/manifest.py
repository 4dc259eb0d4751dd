"""manifest.csv and failures.csv: the pool as files that people and other programs read.

`Trajectory` records go in, a table with one row each comes out, and back again with every cell checked.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from importer.pool.episode import BadInput
from preference.artifacts import write_csv
from preference.records import Trajectory

COLUMNS = (
    "trajectory_id",
    "source",
    "tier",
    "quartile",
    "task_type",
    "environment_id",
    "success",
    "quality",
    "true_return",
    "path_efficiency",
    "smoothness",
    "grasp_stability",
    "peak_force",
    "duration_s",
    "start_s",
    "end_s",
    "dataset",
    "episode_index",
    "clip",
    "clip_sha256",
    "num_frames",
    "fps",
)
_TYPES = {f.name: f.type for f in fields(Trajectory)}


@dataclass(frozen=True)
class Failure:
    """An episode, or with `episode_index` None a whole dataset, that could not be used, and why."""

    dataset: str
    episode_index: int | None
    file: str
    field: str
    reason: str

    def __str__(self) -> str:
        what = self.dataset if self.episode_index is None else f"{self.dataset}, episode {self.episode_index}"
        place = ", ".join(part for part in (self.file, self.field) if part)
        return f"{what}: {place}: {self.reason}" if place else f"{what}: {self.reason}"


def failure_of(dataset: str, episode_index: int | None, error: Exception) -> Failure:
    """An error as a row of failures.csv."""
    if isinstance(error, BadInput):
        return Failure(dataset, episode_index, error.file, error.field, error.reason)
    return Failure(dataset, episode_index, "", "", str(error))


def write_manifest(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """One row per trajectory; nan and unknown become empty cells."""
    rows = ([_cell(getattr(t, name)) for name in COLUMNS] for t in trajectories)
    write_csv(path, COLUMNS, rows)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """The failures of the newest run; no failures, no file."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    names = [f.name for f in fields(Failure)]
    write_csv(path, names, ([_cell(getattr(failure, name)) for name in names] for failure in failures))


def read_manifest(path: Path) -> list[Trajectory]:
    """The trajectories of a manifest.csv.

    Raises:
        BadInput: the file is missing or a cell is not what its column holds; names the row and the column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise BadInput(path, missing[0], "the column is missing")
            rows = list(reader)
    except FileNotFoundError:
        raise BadInput(path, "", "the file is missing", fix="Run `robopref pool` first.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(path, "", f"cannot be read as CSV: {error}") from None
    trajectories = [
        Trajectory(**{name: _value(path, number, name, row[name]) for name in COLUMNS})
        for number, row in enumerate(rows, start=2)
    ]
    ids = [t.trajectory_id for t in trajectories]
    if len(set(ids)) < len(ids):
        doubled = next(i for i in ids if ids.count(i) > 1)
        raise BadInput(path, "trajectory_id", f"{doubled!r} is there twice")
    return trajectories


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _value(path: Path, row: int, name: str, text: str | None) -> Any:
    """One cell as its record's type."""
    kind = _TYPES[name]
    place = f"row {row}, {name}"
    if text is None:
        raise BadInput(path, place, "the row is too short")
    if kind == "str":
        return text
    if kind == "bool | None":
        if text not in ("", "true", "false"):
            raise BadInput(path, place, f"expected true, false or nothing, found {text!r}")
        return {"": None, "true": True, "false": False}[text]
    if kind == "float" and text == "":
        return math.nan
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        raise BadInput(path, place, f"expected a number, found {text!r}") from None
