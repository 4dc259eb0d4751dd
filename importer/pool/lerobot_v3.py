"""LeRobot v3.0: many episodes in one parquet file and one mp4, found through the table in meta/episodes.

A dataset's folder comes in, `Episode`s go out. Columns per episode that LeRobot does not define but a pool needs are
taken where present: `source`, `success`, `environment_id`, `return`, and those that robopref.toml names.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput, Episode, NoView, VideoSpan, views_of
from importer.pool.labels import assemble, labels_of, real
from importer.pool.lerobot import check_there, file_of, read_info, rows_of_table, schema_of, task_of, there
from importer.pool.mapping import map_columns
from importer.pool.outside import check_inside
from importer.pool.parquet import read_limited, read_rows
from importer.pool.rows import Rows
from importer.pool.video import TOLERANCE_FRAMES, check_span
from preference.config import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("episode_index", "data/chunk_index", "data/file_index")


class LeRobotV3:
    """Reader of one dataset; holds the episodes' table and nothing else."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.root = dataset.path
        self.info = read_info(self.root)
        self.folder = self.root / "meta" / "episodes"
        files = sorted(self.folder.glob("*/*.parquet"))
        for file in files:
            check_inside(file, self.root)
        labels = {name: None for file in files for name in _names(file) if not name.startswith("stats/")}
        self.schema = schema_of(self.root, self.info, "LeRobot v3.0", list(labels))
        self.mapping = map_columns(self.schema, dataset.columns)
        self.table = self._table_of(files)
        self.places = self._places()

    @staticmethod
    def recognizes(info: dict[str, Any]) -> bool:
        return str(info.get("codebase_version", "")).startswith("v3")

    def episodes(self) -> dict[int, str]:
        return {index: f"{index:06d}" for index in sorted(self.places)}

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        row = self._row(episode_index)
        videos = []
        for camera in self.mapping.cameras if cameras is None else cameras:
            with suppress(NoView):
                videos.append(self._path("video_path", row, f"videos/{camera}", camera))
        return [self._path("data_path", row, "data"), *there(videos)]

    def read(self, episode_index: int) -> Episode:
        row = self._row(episode_index)
        file = self._path("data_path", row, "data")
        table = read_rows(file, episode_index, self.mapping.columns())
        expected = row.get("length")
        if expected is not None and table.num_rows != expected:
            reason = f"episode {episode_index} has {table.num_rows} rows, its metadata says {expected}"
            raise BadInput(file, "length", reason)
        rows = rows_of_table(table, self.mapping, file, self.schema.fps)
        views = views_of(self.mapping.cameras, lambda camera: self._video(row, camera, rows))
        labels = labels_of(row, self.mapping, Path(row["file"]))
        return assemble(episode_index, rows, labels, views, task=task_of(row))

    def _table_of(self, files: list[Path]) -> pa.Table:
        """meta/episodes as one table, with the `file` that each row came from."""
        import pyarrow as pa

        keys = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        video = [f"videos/{camera}/{key}" for camera in self.mapping.cameras for key in keys]
        tables = [_read_columns(file, {*REQUIRED, "tasks", "length", *self.schema.labels, *video}) for file in files]
        if not sum(table.num_rows for table in tables):
            fix = "The meta/episodes table must not be empty."
            raise BadInput(self.folder, "", "no episodes are listed", fix=fix)
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise BadInput(self.folder, "", f"its files have different columns: {error}") from None

    def _places(self) -> dict[int, int]:
        """episode_index → its row in `table`."""
        places: dict[int, int] = {}
        for place, index in enumerate(self.table.column("episode_index").to_pylist()):
            if index is None or index in places:
                said = "a row has no value" if index is None else f"episode {index} is listed twice"
                raise BadInput(self.folder, "episode_index", said)
            places[index] = place
        return places

    def _row(self, episode_index: int) -> dict[str, Any]:
        if episode_index not in self.places:
            raise BadInput(self.folder, "episode_index", f"there is no episode {episode_index}")
        return self.table.slice(self.places[episode_index], 1).to_pylist()[0]

    def _path(self, template: str, row: dict[str, Any], prefix: str, camera: str = "") -> Path:
        numbers = {key: row.get(f"{prefix}/{key}") for key in ("chunk_index", "file_index")}
        if None in numbers.values():
            missing = NoView if camera else BadInput
            raise missing(row["file"], f"{prefix}/file_index", f"no value for episode {row['episode_index']}")
        return file_of(self.root, self.info, template, {**numbers, "video_key": camera})

    def _video(self, row: dict[str, Any], camera: str, rows: Rows) -> VideoSpan:
        prefix = f"videos/{camera}"
        path = self._path("video_path", row, prefix, camera)
        begin, finish = (f"{prefix}/{key}_timestamp" for key in ("from", "to"))
        start, end = (real(row.get(column), column, row["file"]) for column in (begin, finish))
        if not np.isfinite(start):
            raise BadInput(row["file"], begin, f"no value for episode {row['episode_index']}")
        if np.isfinite(end) and abs(end - start - rows.length_s) > TOLERANCE_FRAMES / rows.fps:
            reason = (
                f"episode {row['episode_index']} has {end - start:.2f} s of video and {rows.length_s:.2f} s of rows"
            )
            raise BadInput(row["file"], finish, reason)
        span = VideoSpan(path, start, start + rows.length_s)
        check_there(path, self.root, camera)
        check_span(span, camera)
        return span


def _names(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise BadInput(file, "", f"cannot be read as parquet: {error}") from None


def _read_columns(file: Path, wanted: set[str]) -> pa.Table:
    """Those of the `wanted` columns that the file has; the statistics beside them are many times as large."""
    import pyarrow as pa

    names = _names(file)
    if missing := [name for name in REQUIRED if name not in names]:
        raise BadInput(file, missing[0], "the column is missing")
    try:
        table = read_limited(file, [name for name in names if name in wanted])
    except (pa.ArrowException, OSError) as error:
        raise BadInput(file, "", f"cannot be read as parquet: {error}") from None
    return table.append_column("file", pa.array([str(file)] * table.num_rows, pa.string()).dictionary_encode())
