"""LeRobot v3.0: many episodes in one parquet file and one mp4, found through the table in meta/episodes.

A dataset's folder comes in, `Episode`s go out. Columns per episode that LeRobot does not define but a pool needs are
taken where present: `source`, `environment_id`, `success`, `return`, and the one that `quality` names in robopref.toml.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.columns import real, truth
from importer.pool.episode import BadInput, Episode, VideoSpan
from importer.pool.lerobot import Rows, find_camera, names_of, read_info, rows_of, wanted_columns
from importer.pool.parquet import read_rows
from importer.pool.video import TOLERANCE_FRAMES, check_span
from preference.config import Dataset
from preference.errors import UserError
from preference.workspace import confined

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("episode_index", "data/chunk_index", "data/file_index")
OPTIONAL = ("tasks", "length", "source", "environment_id", "success", "return")


class LeRobotV3:
    """Reader of one dataset; holds the episodes' table and nothing else."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.root = dataset.path
        self.info_file = self.root / "meta" / "info.json"
        self.info = read_info(self.root)
        self.camera = find_camera(self.info, dataset.camera, self.info_file)
        self.video_prefix = f"videos/{self.camera}"
        self.table = self._episodes()
        self.places = self._places()

    @staticmethod
    def recognizes(info: dict[str, Any]) -> bool:
        return str(info.get("codebase_version", "")).startswith("v3")

    def episode_indices(self) -> list[int]:
        return sorted(self.places)

    def names(self) -> dict[str, list[str]]:
        return names_of(self.info)

    def files(self, episode_index: int) -> list[Path]:
        row = self._row(episode_index)
        data = self._path("data_path", row, "data")
        return [data, self._path("video_path", row, self.video_prefix)] if self.camera else [data]

    def read(self, episode_index: int) -> Episode:
        row = self._row(episode_index)
        file = self._path("data_path", row, "data")
        rows = rows_of(self._table(file, row), file, self.info, self.dataset)
        success = truth(row.get("success"), "success", row["file"])
        true_return = real(row.get("return"), "return", row["file"])
        return Episode(
            episode_index=episode_index,
            task_type=self.dataset.task_type or self._task(row),
            environment_id=str(row.get("environment_id") or self.dataset.environment_id),
            source=str(row.get("source") or self.dataset.source or "unknown"),
            success=rows.success if success is None else success,
            true_return=true_return if np.isfinite(true_return) else float(rows.rewards.sum()),
            quality=self._quality(row),
            fps=rows.fps,
            time=rows.time,
            actions=rows.actions,
            state=rows.state,
            gripper=rows.gripper,
            effector=rows.effector,
            success_rows=rows.success_rows,
            rewards=rows.rewards,
            video=self._video(row, rows) if self.camera else None,
        )

    def _episodes(self) -> pa.Table:
        """meta/episodes as one table, with the `file` that each row came from."""
        import pyarrow as pa

        folder = self.root / "meta" / "episodes"
        video = [f"{self.video_prefix}/{key}" for key in ("chunk_index", "file_index")]
        video += [f"{self.video_prefix}/{key}_timestamp" for key in ("from", "to")]
        wanted = {*REQUIRED, *OPTIONAL, *video, self.dataset.quality}
        tables = [_read_columns(file, wanted) for file in sorted(folder.glob("*/*.parquet"))]
        if not sum(table.num_rows for table in tables):
            raise BadInput(folder, "", "no episode is listed there", fix="The meta/episodes table must not be empty.")
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise BadInput(folder, "", f"its files do not belong together: {error}") from None

    def _places(self) -> dict[int, int]:
        """episode_index → its row in `table`."""
        places: dict[int, int] = {}
        for place, index in enumerate(self.table.column("episode_index").to_pylist()):
            if index is None or index in places:
                said = "a row has none" if index is None else f"episode {index} is listed twice"
                raise BadInput(self.root / "meta" / "episodes", "episode_index", said)
            places[index] = place
        return places

    def _row(self, episode_index: int) -> dict[str, Any]:
        if episode_index not in self.places:
            raise BadInput(self.root / "meta" / "episodes", "episode_index", f"there is no episode {episode_index}")
        return self.table.slice(self.places[episode_index], 1).to_pylist()[0]

    def _path(self, template: str, row: dict[str, Any], prefix: str) -> Path:
        """The file of an episode; it may be missing, but it lies inside the dataset."""
        numbers = {key: row.get(f"{prefix}/{key}") for key in ("chunk_index", "file_index")}
        if None in numbers.values():
            raise BadInput(row["file"], f"{prefix}/file_index", f"no value for episode {row['episode_index']}")
        try:
            return confined(self.root, str(self.info[template]).format(video_key=self.camera, **numbers))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            reason = f"{self.info.get(template)!r} cannot be filled in: {error!r}"
            raise BadInput(self.info_file, template, reason) from None
        except UserError as error:
            raise BadInput(self.info_file, template, error.message, fix=error.fix) from None

    def _table(self, file: Path, row: dict[str, Any]) -> pa.Table:
        table = read_rows(file, row["episode_index"], wanted_columns(self.dataset))
        expected = row.get("length")
        if expected is not None and table.num_rows != expected:
            found = f"episode {row['episode_index']} has {table.num_rows} rows, its metadata says {expected}"
            raise BadInput(file, "length", found)
        return table

    def _task(self, row: dict[str, Any]) -> str:
        tasks = row.get("tasks")
        task = tasks if isinstance(tasks, str) else str(tasks[0]) if tasks else ""
        if not task.strip():
            fix = "Set `task_type` of the dataset in robopref.toml."
            raise BadInput(row["file"], "tasks", f"episode {row['episode_index']} has no task", fix=fix)
        return task

    def _quality(self, row: dict[str, Any]) -> float:
        column = self.dataset.quality
        if column and column not in row:
            raise BadInput(row["file"], column, "the column that `quality` names is missing")
        return real(row.get(column), column, row["file"]) if column else float("nan")

    def _video(self, row: dict[str, Any], rows: Rows) -> VideoSpan:
        path = self._path("video_path", row, self.video_prefix)
        begin, finish = (f"{self.video_prefix}/{key}_timestamp" for key in ("from", "to"))
        start, end = (real(row.get(column), column, row["file"]) for column in (begin, finish))
        if not np.isfinite(start):
            raise BadInput(row["file"], begin, f"no value for episode {row['episode_index']}")
        if np.isfinite(end) and abs(end - start - rows.length_s) > TOLERANCE_FRAMES / rows.fps:
            reason = (
                f"episode {row['episode_index']} has {end - start:.2f} s of video and {rows.length_s:.2f} s of rows"
            )
            raise BadInput(row["file"], finish, reason)
        span = VideoSpan(path, start, start + rows.length_s)
        check_span(span, self.camera)
        return span


def _read_columns(file: Path, wanted: set[str]) -> pa.Table:
    """Those of the `wanted` columns that the file has; the statistics beside them are many times as large."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
        table = pq.read_table(file, columns=[name for name in names if name in wanted])
    except (pa.ArrowException, OSError) as error:
        raise BadInput(file, "", f"cannot be read as parquet: {error}") from None
    if missing := [name for name in REQUIRED if name not in names]:
        raise BadInput(file, missing[0], "the column is missing")
    return table.append_column("file", pa.array([str(file)] * table.num_rows, pa.string()).dictionary_encode())
