"""manifest.csv and failures.csv: the pool as files that people and other programs read.

`Trajectory` records go in, a table with one row each comes out; Robopref itself reads the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

from importer.pool.episode import BadInput
from importer.pool.outside import printable
from preference.artifacts import no_formula, read_csv, write_csv
from preference.errors import DataError
from preference.frames import trajectory_frame
from preference.records import Trajectory

COLUMNS = (
    "trajectory_id",
    "source",
    "tier",
    "quartile",
    "task_type",
    "environment_id",
    "robot",
    "cameras",
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
    write_csv(path, trajectory_frame(trajectories).sort_values("trajectory_id")[list(COLUMNS)])


def read_manifest(path: Path) -> list[Trajectory]:
    """What `write_manifest` wrote.

    Raises:
        DataError: the file is missing, lacks a column, or a value is not what the column holds.
    """
    kinds = get_type_hints(Trajectory)
    table = read_csv(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise DataError(f"{path}: the column {missing[0]} is missing.")

    def value(name: str, text: str) -> object:
        if kinds[name] is float:
            return float(text or "nan")
        if name == "success":
            return {"true": True, "false": False, "": None}[text]
        if kinds[name] is int:
            return int(text)
        return text[1:] if text.startswith("'") and no_formula(text[1:]) == text else text

    found = []
    for number, row in enumerate(table[list(COLUMNS)].to_dict("records"), start=2):
        try:
            found.append(Trajectory.from_dict({str(name): value(str(name), text) for name, text in row.items()}))
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}, row {number}: {error}.") from None
    return found


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """The failures of the newest run; no failures, no file."""
    import pandas as pd

    if not failures:
        path.unlink(missing_ok=True)
        return
    write_csv(path, pd.DataFrame(map(asdict, failures)).astype({"episode_index": "Int64"}))
