"""What robomimic's and robosuite's HDF5 files share: demonstrations in `data/*`, and JSON in attributes.

A file comes in; its demonstrations by number, columns as (T, D) arrays and images as `Images` go out. The file is
opened for each look and closed after it, so that readers can travel between processes. h5py's objects are `Any`:
its types cannot say what lies at a path.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool.episode import BadInput, Episode, Images, NoView, views_of
from importer.pool.images import as_rgb, shape_of
from importer.pool.labels import assemble, labels_of
from importer.pool.mapping import LOOKED_AT, Column, Mapping, Schema, usual_columns
from importer.pool.outside import MOST_BYTES, check_array, guarded, printable
from importer.pool.rows import Rows, rows_of
from preference.config import Dataset

DEMO = re.compile(r"(?:demo|episode|ep|traj)?[_-]?(\d+)")
CAMERA_END = "_image"
BLOCK_BYTES = 32_000_000
SUFFIXES = (".hdf5", ".h5")


class Demonstrations:
    """What the readers of both formats do alike; each fills in the fields."""

    dataset: Dataset
    path: Path
    demos: dict[int, str]
    """episode_index → name of the group in `data`."""
    schema: Schema
    mapping: Mapping
    task: str
    """What the file as a whole calls the task."""

    def episodes(self) -> dict[int, str]:
        return names_by_index(self.demos)

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        return [self.path]

    def read(self, episode_index: int) -> Episode:
        name = self.demos.get(episode_index)
        if name is None:
            raise BadInput(self.path, "data", f"there is no demonstration {episode_index}")
        with opened(self.path) as file:
            demo = look_up(file, f"data/{name}", self.path)
            rows = rows_of(lambda c: column_of(demo, c, self.path), self.mapping, self.path, self.schema.fps)
            labels = labels_of(dict(demo.attrs), self.mapping, self.path)
            views = views_of(self.mapping.cameras, lambda camera: self.images(demo, camera, rows))
            return assemble(episode_index, rows, labels, views, task=self.task)

    def images(self, demo: Any, camera: str, rows: Rows) -> Images:
        """A camera's frames.

        Raises:
            NoView: there are none.
            BadInput: there are not as many as rows.
        """
        array = look_up(demo, camera, self.path)
        if array is None:
            raise NoView(self.path, f"{demo.name}/{camera}", "the images are missing")
        images = ArrayImages.of(array, self.path)
        if images.count != len(rows.time):
            reason = f"{images.count} frames for {len(rows.time)} rows"
            raise BadInput(self.path, f"{demo.name}/{camera}", reason)
        return images


WALK_S = 120.0
"""Seconds for a walk over a file's structure; a million arrays take half of it."""
WALK = """
import sys, h5py
def look(_, item):
    dict(item.attrs)
    if isinstance(item, h5py.Dataset):
        item.shape, item.dtype, item.chunks, item.external, item.is_virtual
    else:
        [item.get(name, getlink=True) for name in item]
with h5py.File(sys.argv[1], "r") as file:
    look("", file)
    file.visititems(look)
"""


def check_walk(path: Path) -> None:
    """A process of its own walks over the file's structure first: a single flipped bit can make the HDF5 library run
    in a circle or crash, and no exception comes of either. What it says as an exception is left to the reader.

    Raises:
        BadInput: the library did not come back.
    """
    try:
        code = subprocess.run(
            [sys.executable, "-c", WALK, str(path)], capture_output=True, check=False, timeout=WALK_S
        ).returncode
    except subprocess.TimeoutExpired:
        raise BadInput(path, "", f"it is damaged: the HDF5 library does not return within {WALK_S:g} s") from None
    if code < 0:
        raise BadInput(path, "", f"it is damaged: it makes the HDF5 library crash (signal {-code})")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """
    Raises:
        BadInput: the file is missing, empty, truncated, or not HDF5.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise BadInput(path, "", "the file is missing") from None
    except OSError as error:
        said = "it is empty" if path.stat().st_size == 0 else " ".join(str(error).split())
        raise BadInput(path, "", f"cannot be read as HDF5: {said}") from None
    with file:
        try:
            yield file
        except (OSError, RuntimeError) as error:
            raise BadInput(path, "", f"cannot be read: {' '.join(str(error).split())}") from None


def look_up(group: Any, name: str, path: Path, *, steps: int = 16) -> Any:
    """What `name` (a path) is in `group`; None where there is nothing. Everything is taken out of a file by this.

    HDF5 follows links into other files, and reads arrays whose bytes lie in any file of the host, without a word.

    Raises:
        BadInput: a part of the way, or the content, lies in another file.
    """
    import h5py

    item: Any = group
    place = name
    try:
        for part in [part for part in name.split("/") if part not in ("", ".")]:
            link: Any = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
            if link is None:
                return None
            place = f"{item.name}/{part}".replace("//", "/")
            if isinstance(link, h5py.ExternalLink):
                raise BadInput(path, place, f"expected data in this file, found a link to {link.filename!r}")
            if not isinstance(link, h5py.SoftLink):
                item = item[part]
            elif steps:
                start = item.file if link.path.startswith("/") else item
                item = look_up(start, link.path, path, steps=steps - 1)
            else:
                raise BadInput(path, place, "the link leads nowhere")
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise BadInput(path, place, "expected data in this file, found storage in other files")
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise BadInput(path, place, f"cannot be read: {' '.join(str(error).split())}") from None
    return item


def is_group(group: Any, name: str, path: Path) -> bool:
    """Whether a demonstration is there; one that cannot be read is, and reading it says why."""
    import h5py

    try:
        return isinstance(look_up(group, name, path), h5py.Group)
    except BadInput:
        return True


def check_chunk(array: Any, path: Path) -> None:
    """
    Raises:
        BadInput: a chunk, which is unpacked as a whole, is too large.
    """
    if array.chunks and int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize > MOST_BYTES:
        reason = f"expected chunks of at most {MOST_BYTES >> 30} GiB, found {array.chunks}"
        raise BadInput(path, str(array.name), reason)


def demonstrations(file: Any, path: Path) -> dict[int, str]:
    """episode_index → name of the group in `data`: its own number where all have one, else its place by name.

    Raises:
        BadInput: there is no `data`, or nothing in it.
    """
    import h5py

    data = look_up(file, "data", path)
    if not isinstance(data, h5py.Group):
        found = ", ".join(file) or "nothing"
        raise BadInput(path, "data", f"expected a group `data` with demonstrations, found {found}")
    names = sorted(str(name) for name in data if is_group(data, str(name), path))
    if not names:
        raise BadInput(path, "data", "it contains no demonstrations")
    numbers = [DEMO.fullmatch(name) for name in names]
    own = {int(match[1]): name for match, name in zip(numbers, names, strict=True) if match}
    return own if len(own) == len(names) else dict(enumerate(names))


def names_by_index(demos: dict[int, str]) -> dict[int, str]:
    """episode_index → the name that its trajectory_id ends with: a number of six digits where demos are numbered."""
    return {i: f"{i:06d}" if (m := DEMO.fullmatch(name)) and int(m[1]) == i else name for i, name in demos.items()}


def usual(data: Any, demos: dict[int, str], path: Path) -> tuple[dict[str, Column], list[str], list[str]]:
    """Columns, image arrays (`obs/*_image`) and attributes of the first demonstrations."""
    columns: list[dict[str, Column]] = []
    images: set[str] = set()
    attributes: dict[str, None] = {}
    for name in list(demos.values())[:LOOKED_AT]:
        with suppress(BadInput, KeyError, OSError, RuntimeError, ValueError):  # reading it says why
            demo = look_up(data, name, path)
            observed = look_up(demo, "obs", path) or ()
            images |= {f"obs/{name}" for name in observed if name.endswith(CAMERA_END)}
            attributes |= dict.fromkeys(demo.attrs)
            columns.append(arrays_of(demo))
    return usual_columns(columns), sorted(images), list(attributes)


def arrays_of(demo: Any) -> dict[str, Column]:
    """The columns of a demonstration: every array of numbers, by its path inside the group, images left out."""
    import h5py

    found: dict[str, Column] = {}

    def look(name: str, item: Any) -> None:
        plain = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and item.ndim in (1, 2)
        if plain and not name.startswith("next_obs/"):
            found[name] = Column(name, str(item.dtype), int(item.shape[1]) if item.ndim == 2 else 1)

    demo.visititems(look)
    return found


def column_of(demo: Any, name: str, path: Path) -> np.ndarray | None:
    """(T, D) float64; None where the demonstration lacks it.

    Raises:
        BadInput: it does not hold numbers.
    """
    import h5py

    item = look_up(demo, name, path)
    if not isinstance(item, h5py.Dataset):
        return None
    if item.dtype.kind not in "fiub" or item.ndim not in (1, 2):
        raise BadInput(path, f"{demo.name}/{name}", f"expected numbers in T rows, found {item.dtype} {item.shape}")
    width = item.shape[1] if item.ndim == 2 else 1
    check_array(len(item), width, path, f"{demo.name}/{name}")
    check_chunk(item, path)
    return np.asarray(item[()], dtype=np.float64).reshape(len(item), width)


def zeros_and_ones(data: Any, demos: dict[int, str], name: str, path: Path) -> bool:
    """Whether a column is 0 or 1 in every row of every demonstration that can be read, and 1 somewhere.

    All are asked: the first demonstrations may all have failed.
    """
    ones = False
    for demo in demos.values():
        with suppress(BadInput, KeyError, OSError, RuntimeError, ValueError):  # reading the demonstration says why
            group = look_up(data, demo, path)
            values = None if group is None else column_of(group, name, path)
            if values is None:
                continue
            if values.shape[1] != 1 or not np.isin(values, (0.0, 1.0)).all():
                return False
            ones = ones or bool(values.any())
    return ones


def json_attribute(item: Any, name: str) -> dict[str, Any]:
    """An attribute that holds a JSON object; empty where it is missing or unreadable."""
    try:
        value = json.loads(item.attrs[name])
    except (KeyError, ValueError, TypeError, OSError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def robot_in(settings: dict[str, Any]) -> str:
    """What robosuite's settings of an environment call its robot, or robots."""
    robots = settings.get("robots") or ""
    return printable(", ".join(map(str, robots)) if isinstance(robots, list) else str(robots))


@dataclass(frozen=True)
class ArrayImages:
    """Frames in an array of an HDF5 file, (T, H, W, C)."""

    path: Path
    key: str
    count: int
    width: int
    height: int
    block: int
    """Frames that are read at once: whole chunks of the file, up to 32 MB."""

    @classmethod
    def of(cls, array: Any, path: Path) -> ArrayImages:
        """
        Raises:
            BadInput: the array does not hold images.
        """
        key = str(array.name)
        if array.ndim not in (3, 4) or not (array.dtype.kind == "f" or array.dtype == np.uint8):
            reason = f"expected (T, H, W, 3) of uint8 or float, found {array.dtype} {array.shape}"
            raise BadInput(path, key, reason)
        width, height = shape_of(array.shape[1:], path, key)
        check_chunk(array, path)
        stored = array.chunks[0] if array.chunks else 1
        fitting = max(1, BLOCK_BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))
        return cls(path, key, len(array), width, height, max(1, fitting // stored * stored))

    def frames(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """One block is in memory; it begins at a multiple of its length, so that no chunk is unpacked twice."""
        begin, block = 0, np.empty(0)
        with opened(self.path) as file:
            array = look_up(file, self.key, self.path)
            for row in rows:
                if not begin <= row < begin + len(block):
                    begin = row // self.block * self.block
                    with guarded(self.path):
                        block = array[begin : begin + self.block]
                yield as_rgb(block[row - begin], self.path, f"{self.key}[{row}]")
