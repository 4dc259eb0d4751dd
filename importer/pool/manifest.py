"""manifest.csv and failures.csv: the pool as files that people and other programs read.

`Trajectory` records go in, a table with one row each comes out; Robopref itself reads the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from importer.pool.episode import BadInput
from importer.pool.outside import printable
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
    parts = (error.file, error.field, error.reason) if isinstance(error, BadInput) else ("", "", str(error))
    return Failure(dataset, episode_index, *(printable(part) for part in parts))


def write_manifest(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """One row per trajectory; nan and unknown become empty cells."""
    rows = ([_cell(getattr(t, name)) for name in COLUMNS] for t in sorted(trajectories, key=lambda t: t.trajectory_id))
    write_csv(path, COLUMNS, rows)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """The failures of the newest run; no failures, no file."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    names = [f.name for f in fields(Failure)]
    write_csv(path, names, ([_cell(getattr(failure, name)) for name in names] for failure in failures))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
