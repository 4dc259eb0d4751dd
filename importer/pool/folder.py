"""A plain folder: one folder per episode, for people whose recorder writes no known format.

    kitchen/
      2026-05-04 run 1/          the name becomes part of the trajectory's id
        front.mp4                a video; or a folder `front/` of image files, one for each row
        arrays.npz               or .parquet, or .csv: action, and what else there is, T rows each
        meta.json                optional: task_type, source, success, environment_id, quality, return, fps

In a table `action_0, action_1` or `action.x, action.y` are the numbers of `action`. Without a column of times the
rows are evenly spaced, by the `fps` of meta.json, else the video's, else the dataset's entry in robopref.toml.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput, Episode, NoView, Video, VideoSpan, views_of
from importer.pool.images import ImageFiles
from importer.pool.labels import assemble, labels_of
from importer.pool.mapping import Column, Schema, Seen, map_columns, seen_in
from importer.pool.npz import open_npz
from importer.pool.outside import MOST_BYTES, MOST_COLUMNS, MOST_ROWS, check_inside, parse_json, read_text
from importer.pool.parquet import is_numeric, matrix, read_limited
from importer.pool.rows import Load, Rows, rows_of
from importer.pool.video import TOLERANCE_FRAMES, check_span, probe
from preference.config import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
NO_IMAGES = "its episodes have no video and no folder of images: they can be measured but not shown."
TABLES = (".parquet", ".npz", ".csv")


class Folder:
    """Reader of one dataset; holds the episodes' names and what the first good one has."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.root = dataset.path
        self.names = dict(enumerate(episode_folders(self.root)))
        if not self.names:
            raise _no_episode(self.root)
        self.schema = self._schema()
        self.mapping = map_columns(self.schema, dataset.columns)

    def episodes(self) -> dict[int, str]:
        return self.names

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        folder = self._folder(episode_index)
        there = self._cameras(folder)
        found = [there.get(camera, []) for camera in (self.mapping.cameras if cameras is None else cameras)]
        files = [file for camera in found for file in ([camera] if isinstance(camera, Path) else camera)]
        return [self._array_file(folder), *files]

    def read(self, episode_index: int) -> Episode:
        folder = self._folder(episode_index)
        meta_file = folder / "meta.json"
        meta = self._meta(folder)
        file = self._array_file(folder)
        _, load = open_table(file)
        views = views_of(self.mapping.cameras, lambda camera: self._camera(folder, camera))
        fps = self._fps(meta, meta_file, next(filter(None, views.values()), None))
        rows = rows_of(load, self.mapping, file, fps)
        views = {name: view and _checked(view, rows) for name, view in views.items()}
        labels = labels_of(meta, self.mapping, meta_file)
        task = meta.get("task")
        return assemble(episode_index, rows, labels, views, task=task if isinstance(task, str) else "")

    def _folder(self, episode_index: int) -> Path:
        if episode_index not in self.names:
            raise BadInput(self.root, "", f"there is no episode {episode_index}")
        return self.root / self.names[episode_index]

    def _schema(self) -> Schema:
        columns, cameras, labels = seen_in(self.names.values(), self._seen)
        notes = [] if cameras else [NO_IMAGES]
        return Schema("plain folder", self.root, self.dataset.fps, columns, cameras, labels, notes)

    def _seen(self, name: str) -> Seen:
        folder = self.root / name
        columns, _ = open_table(self._array_file(folder))
        return Seen(columns, sorted(self._cameras(folder)), list(self._meta(folder)))

    def _cameras(self, folder: Path) -> dict[str, Path | list[Path]]:
        """Name of the camera → its video, or its image files in the order of their numbers."""
        found: dict[str, Path | list[Path]] = {}
        for item in sorted(folder.iterdir()) if folder.is_dir() else []:
            if item.suffix.lower() in VIDEOS:
                check_inside(item, self.root)
                found[item.stem] = item
            elif item.is_dir() and (images := [f for f in item.iterdir() if f.suffix.lower() in IMAGES]):
                # resolving every path of a long episode takes longer than reading its arrays: the first speaks for
                # the folder, the others only where they are links themselves
                for image in [images[0], *(f for f in images if f.is_symlink())]:
                    check_inside(image, self.root)
                found[item.name] = sorted(images, key=natural)
        return found

    def _array_file(self, folder: Path) -> Path:
        files = sorted(f for f in folder.iterdir() if f.suffix in TABLES) if folder.is_dir() else []
        if len(files) != 1:
            found = ", ".join(f.name for f in files) or "none"
            raise BadInput(folder, "", f"expected one array file (.parquet, .npz or .csv), found {found}")
        check_inside(files[0], self.root)
        return files[0]

    def _meta(self, folder: Path) -> dict[str, Any]:
        file = folder / "meta.json"
        try:
            meta = parse_json(read_text(file, self.root), file)
        except FileNotFoundError:
            return {}
        if not isinstance(meta, dict):
            raise BadInput(file, "", f"expected an object, found {type(meta).__name__}")
        return meta

    def _camera(self, folder: Path, wanted: str) -> Video:
        cameras = self._cameras(folder)
        if wanted not in cameras:
            found = ", ".join(cameras) or "none"
            raise NoView(folder, "camera", f"the video (or folder of images) {wanted!r} is missing; found {found}")
        camera = cameras[wanted]
        if isinstance(camera, list):
            return ImageFiles.of(folder / wanted, camera)
        return VideoSpan(camera, 0.0, probe(camera, "video").end_s)

    def _fps(self, meta: dict[str, Any], file: Path, camera: Video | None) -> float:
        fps = meta.get("fps")
        if fps is not None and not (isinstance(fps, (int, float)) and 0 < fps <= MOST_ROWS):
            raise BadInput(file, "fps", f"expected a number above 0 and at most {MOST_ROWS:,}, found {fps!r}")
        if fps is None and isinstance(camera, VideoSpan):
            fps = probe(camera.path, "video").fps
        return float(fps or self.dataset.fps or float("nan"))


def episode_folders(root: Path) -> list[str]:
    """Names of the folders in `root` that look like episodes, in natural order."""
    folders = [item for item in root.iterdir() if item.is_dir() and not item.name.startswith(".")]
    return [item.name for item in sorted(folders, key=natural) if _is_episode(item)]


def _is_episode(folder: Path) -> bool:
    """It holds a table, a video or a meta.json; one that may not be looked into counts, and reading it says why."""
    try:
        files = list(folder.iterdir())
    except OSError:
        return True
    return any(file.suffix.lower() in (*TABLES, *VIDEOS) or file.name == "meta.json" for file in files)


def _no_episode(root: Path) -> BadInput:
    """Why there is none: an episode was named instead of their folder, or all of them lie in one."""
    tables = [item.stem for item in sorted(root.iterdir(), key=natural) if item.suffix.lower() in TABLES]
    if len(tables) > 1:
        fix = f"Give each a folder with its table and its video, such as {tables[0]}/ and {tables[1]}/."
        return BadInput(root, "", f"{len(tables)} tables lie side by side; expected a folder for each episode", fix=fix)
    if _is_episode(root):
        fix = f"Name the folder that holds the episodes' folders: {root.parent}"
        return BadInput(root, "", "this is a single episode", fix=fix)
    expected = "a meta/info.json (LeRobot), or folders with an array file (.parquet, .npz or .csv) each"
    return BadInput(root, "", f"there is no episode here: expected {expected}")


def open_table(file: Path) -> tuple[dict[str, Column], Load]:
    """The columns of an array file, and how to load one.

    Raises:
        BadInput: it cannot be read.
    """
    return open_npz(file) if file.suffix == ".npz" else _open_flat(file)


def _open_flat(file: Path) -> tuple[dict[str, Column], Load]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if file.suffix == ".csv":
            table = _read_csv(file)
        else:
            names = [field.name for field in pyarrow.parquet.read_schema(file) if is_numeric(field.type)]
            table = read_limited(file, names)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(file, "", f"cannot be read as {file.suffix[1:]}: {error}") from None
    groups = _members(table.column_names)
    columns = {}
    for group, names in groups.items():
        kinds = [table.schema.field(name).type for name in names]
        widths = [_width(table, name) for name in names]
        own = [name[len(group) :].strip("._[]") for name in names] if names != [group] else []
        columns[group] = Column(group, str(kinds[0]), sum(widths), tuple(own) if len(own) == sum(widths) else ())

    def load(name: str) -> np.ndarray | None:
        return np.hstack([matrix(table, member, file) for member in groups[name]]) if name in groups else None

    return columns, load


def _read_csv(file: Path) -> pa.Table:
    import pyarrow.csv

    with file.open("rb") as stream:
        columns = stream.readline(MOST_COLUMNS * 1000).count(b",") + 1
    if columns > MOST_COLUMNS:
        raise BadInput(file, "", f"expected at most {MOST_COLUMNS:,} columns, found {columns:,}")
    if (size := file.stat().st_size) * 4 > MOST_BYTES:  # a digit and a comma become eight bytes
        raise BadInput(file, "", f"expected at most {MOST_BYTES // 4:,} bytes, found {size:,}")
    return pyarrow.csv.read_csv(file)


def _members(names: Sequence[str]) -> dict[str, list[str]]:
    """Which columns of a flat table belong together: `action_0, action_1` or `action.x, action.y` are one `action`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_stem(name), []).append(name)
    return groups


def _stem(name: str) -> str:
    """`action_3`, `action[3]` and `action.gripper` → `action`; other names are their own."""
    head, dot, tail = name.rpartition(".")
    if dot and tail and head not in ("", "observation", "next"):
        return head
    bare = name.rstrip("]0123456789")
    return bare[:-1] if bare != name and len(bare) > 1 and bare[-1] in "_[" else name


def _width(table: Any, name: str) -> int:
    """Numbers in one row of a column."""
    kind = table.schema.field(name).type
    if not hasattr(kind, "value_type"):
        return 1
    first = table.column(name)[0].as_py() if table.num_rows else None
    return len(first) if first else 0


def _checked(camera: Video, rows: Rows) -> Video:
    """The camera has as many frames as there are rows.

    Raises:
        BadInput: with both numbers.
    """
    if isinstance(camera, ImageFiles) and len(camera.files) != len(rows.time):
        raise BadInput(camera.path, "frames", f"{len(camera.files)} images for {len(rows.time)} rows")
    if not isinstance(camera, VideoSpan):
        return camera
    span = VideoSpan(camera.path, 0.0, rows.length_s)
    check_span(span, "video")
    if camera.end_s - rows.length_s > TOLERANCE_FRAMES / rows.fps:
        raise BadInput(camera.path, "video", f"{camera.end_s:.2f} s of video for {rows.length_s:.2f} s of rows")
    return span


def natural(path: Path) -> list[tuple[int, str]]:
    """`frame_2` before `frame_10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
