"""LeRobot v2.0 and v2.1: a parquet file and an mp4 of its own for each episode, listed in meta/episodes.jsonl.

A dataset's folder comes in, `Episode`s go out. Keys of episodes.jsonl that LeRobot does not define but a pool needs
are taken where present: `source`, `success`, `environment_id`, `return`, and those that robopref.toml names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from importer.pool.episode import BadInput, Episode, VideoSpan, views_of
from importer.pool.labels import assemble, labels_of
from importer.pool.lerobot import check_there, file_of, read_info, rows_of_table, schema_of, task_of, there
from importer.pool.mapping import map_columns
from importer.pool.outside import parse_json, read_text
from importer.pool.parquet import read_rows
from importer.pool.rows import Rows
from importer.pool.video import TOLERANCE_FRAMES, check_span, probe
from preference.config import Dataset

CHUNK = 1000
"""Episodes in a folder where info.json does not say; LeRobot's own default."""


class LeRobotV2:
    """Reader of one dataset; holds the lines of episodes.jsonl and nothing else."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.root = dataset.path
        self.info = read_info(self.root)
        self.list_file = self.root / "meta" / "episodes.jsonl"
        self.lines = _read_lines(self.list_file, self.root)
        labels = {name: None for line in self.lines.values() for name in line}
        self.schema = schema_of(self.root, self.info, f"LeRobot {self.info['codebase_version']}", list(labels))
        self.mapping = map_columns(self.schema, dataset.columns)

    @staticmethod
    def recognizes(info: dict[str, Any]) -> bool:
        return str(info.get("codebase_version", "")).startswith("v2")

    def episodes(self) -> dict[int, str]:
        return {index: f"{index:06d}" for index in sorted(self.lines)}

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        data = self._path("data_path", episode_index)
        seen = self.mapping.cameras if cameras is None else cameras
        return [data, *there([self._path("video_path", episode_index, camera) for camera in seen])]

    def read(self, episode_index: int) -> Episode:
        line = self.lines.get(episode_index)
        if line is None:
            raise BadInput(self.list_file, "episode_index", f"there is no episode {episode_index}")
        file = self._path("data_path", episode_index)
        table = read_rows(file, episode_index, self.mapping.columns())
        rows = rows_of_table(table, self.mapping, file, self.schema.fps)
        views = views_of(self.mapping.cameras, lambda camera: self._video(episode_index, camera, rows))
        labels = labels_of(line, self.mapping, self.list_file)
        return assemble(episode_index, rows, labels, views, task=task_of(line))

    def _path(self, template: str, episode_index: int, camera: str = "") -> Path:
        size = self.info.get("chunks_size")
        chunk = episode_index // (size if isinstance(size, int) and size > 0 else CHUNK)
        numbers = {"episode_chunk": chunk, "episode_index": episode_index, "video_key": camera}
        return file_of(self.root, self.info, template, numbers)

    def _video(self, episode_index: int, camera: str, rows: Rows) -> VideoSpan:
        path = self._path("video_path", episode_index, camera)
        check_there(path, self.root, camera)
        span = VideoSpan(path, 0.0, rows.length_s)
        check_span(span, camera)
        length = probe(path, camera).end_s
        if length - rows.length_s > TOLERANCE_FRAMES / rows.fps:
            raise BadInput(path, camera, f"{length:.2f} s of video for {rows.length_s:.2f} s of rows")
        return span


def _read_lines(file: Path, root: Path) -> dict[int, dict[str, Any]]:
    """episode_index → its line of episodes.jsonl."""
    lines: dict[int, dict[str, Any]] = {}
    try:
        texts = read_text(file, root).splitlines()
    except FileNotFoundError:
        raise BadInput(file, "", "the file is missing; it lists the episodes") from None
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        line = parse_json(text, file, f"line {number}")
        try:
            index = line["episode_index"]
        except (KeyError, TypeError):
            raise BadInput(file, f"line {number}", "expected an object with episode_index") from None
        if not isinstance(index, int) or index in lines:
            said = f"{index!r} is not a number" if not isinstance(index, int) else f"episode {index} is listed twice"
            raise BadInput(file, f"line {number}, episode_index", said)
        lines[index] = line
    if not lines:
        raise BadInput(file, "", "no episodes are listed", fix="episodes.jsonl must have a line for each episode.")
    return lines
