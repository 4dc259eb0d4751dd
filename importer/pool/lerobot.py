"""What LeRobot's versions share: meta/info.json, where an episode's files are, and its rows and video.

A dataset's folder comes in; a `Schema`, paths, and one episode's `Rows` go out.
"""

from __future__ import annotations

from collections.abc import Mapping as Values
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput, NoView
from importer.pool.mapping import Column, Mapping, Schema
from importer.pool.outside import MOST_ROWS, caches_of, check_inside, check_ordinary, parse_json, printable, read_text
from importer.pool.parquet import matrix
from importer.pool.rows import Rows, rows_of
from preference.artifacts import confined
from preference.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

NOT_LABELS = ("episode_index", "tasks", "length", "task_index", "dataset_from_index", "dataset_to_index")
NO_ARRAYS = ("video", "image", "string", "language")
IMAGES = "Its images lie inside the parquet files, which Robopref does not read: convert them to video."


def read_info(root: Path) -> dict[str, Any]:
    """meta/info.json of a LeRobot dataset.

    Raises:
        BadInput: it is missing, is not JSON, or lacks a field that reading needs.
    """
    file = root / "meta" / "info.json"
    try:
        info = parse_json(read_text(file, root), file)
    except FileNotFoundError:
        raise BadInput(file, "", "the file is missing; LeRobot datasets have one") from None
    if not isinstance(info, dict):
        raise BadInput(file, "", f"expected an object, found {type(info).__name__}")
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise BadInput(file, "features", "expected an object of features")
    if not isinstance(info.get("fps"), (int, float)) or not 0 < info["fps"] <= MOST_ROWS:
        raise BadInput(file, "fps", f"expected a number above 0, found {info.get('fps')!r}")
    return info


def schema_of(root: Path, info: Values[str, Any], version: str, labels: Sequence[str]) -> Schema:
    """What meta/info.json describes, and the `labels` that each episode has."""
    features = info["features"]
    cameras = [key for key, feature in features.items() if feature.get("dtype") == "video"]
    arrays = {key: feature for key, feature in features.items() if feature.get("dtype") not in NO_ARRAYS}
    columns = {**_stored(root), **{key: _column(key, feature) for key, feature in arrays.items()}}
    columns = {key: column for key, column in columns.items() if key not in _of_a_model(root)}
    inside = not cameras and any(feature.get("dtype") == "image" for feature in features.values())
    own = [name for name in labels if name not in NOT_LABELS and "/" not in name]
    notes = [IMAGES] if inside else []
    robot = printable(str(info.get("robot_type") or ""))
    return Schema(version, root / "meta" / "info.json", float(info["fps"]), columns, cameras, own, notes, robot)


def _of_a_model(root: Path) -> list[str]:
    """Columns that `robopref export lerobot` added: a model's rewards, which must not be taken for the simulator's."""
    file = root / "meta" / "robopref.json"
    try:
        return list(parse_json(read_text(file, root), file)["columns"])
    except (BadInput, OSError, KeyError, TypeError):
        return []


def _stored(root: Path) -> dict[str, Column]:
    """What the first data file holds: recorders add columns and forget to declare them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = next(iter(sorted((root / "data").glob("*/*.parquet"))), None)
    try:
        if file is None:
            return {}
        check_inside(file, root)
        rows = next(pq.ParquetFile(file).iter_batches(batch_size=1), None)
    except (BadInput, pa.ArrowException, OSError):
        return {}  # reading the file reports what is wrong with it
    found: dict[str, Column] = {}
    for field, values in zip(rows.schema, rows.columns, strict=True) if rows else ():
        first = np.asarray(values.to_pylist()[0] if len(values) else [])
        if first.dtype.kind in "fiub":
            found[field.name] = Column(field.name, str(field.type), first.size)
    return found


def _column(name: str, feature: Values[str, Any]) -> Column:
    shape = feature.get("shape") or [1]
    width = int(np.prod([n for n in shape if isinstance(n, int)] or [1]))
    return Column(name, str(feature.get("dtype", "")), width, tuple(_names_in(feature)))


def _names_in(feature: Values[str, Any]) -> list[str]:
    """The names of a feature's dimensions, however LeRobot nested them: a list, a list of lists, or a dictionary."""
    names: Any = feature.get("names")
    while isinstance(names, dict) or (isinstance(names, list) and len(names) == 1 and isinstance(names[0], list)):
        if isinstance(names, dict):
            names = next(iter(names.values()), None)
        else:
            names = names[0]
    return [str(name) for name in names] if isinstance(names, list) else []


def file_of(root: Path, info: Values[str, Any], template: str, numbers: Values[str, Any]) -> Path:
    """The file that `template` of info.json names; it may be missing, but it lies inside the dataset.

    Raises:
        BadInput: there is no such template, or it leads out of the dataset.
    """
    place = root / "meta" / "info.json"
    try:
        name = str(info[template]).format(**numbers)
    except (KeyError, ValueError, IndexError, AttributeError, MemoryError, OverflowError) as error:
        raise BadInput(place, template, f"{info.get(template)!r} cannot be filled in: {error!r}") from None
    try:
        file = confined(root, name, *caches_of(root))
        check_ordinary(file)
    except BadInput:
        raise
    except UserError as error:
        raise BadInput(place, template, error.message, fix=error.fix) from None
    except OSError as error:  # a name longer than any file may have
        raise BadInput(place, template, f"names a file that cannot be opened: {error.strerror}") from None
    return file


def check_there(video: Path, root: Path, camera: str) -> None:
    """Check that the video exists; where only its folder has another name, say so.

    Raises:
        BadInput: it is missing.
    """
    if video.exists():
        return
    if video.is_relative_to(root.resolve()):
        folder = video.relative_to(root.resolve()).parts[0]
        other = next((p.name for p in root.glob("video*") if p.is_dir() and p.name != folder), "")
        if other and not (root / folder).exists():
            reason = f"the video is missing: the folder is called {other!r}, video_path of info.json says {folder!r}"
            raise BadInput(video, camera, reason, fix="Correct video_path in meta/info.json, or rename the folder.")
    raise NoView(video, camera, "the video is missing")


def there(videos: Sequence[Path]) -> list[Path]:
    """A dataset's only video, there or not; of several, those that are there."""
    return [video for video in videos if len(videos) == 1 or video.exists()]


def rows_of_table(table: pa.Table, mapping: Mapping, file: Path, fps: float) -> Rows:
    """The arrays in the table of one episode."""

    def load(column: str) -> np.ndarray | None:
        return matrix(table, column, file) if column in table.column_names else None

    return rows_of(load, mapping, file, fps)


def task_of(line: Values[str, Any]) -> str:
    """The task in an episode's line of metadata; the first where there are several."""
    tasks = line.get("tasks")
    return tasks if isinstance(tasks, str) else str(tasks[0]) if tasks else ""
