"""What robomimic's and robosuite's HDF5 files share: demonstrations in `data/*`, and JSON in attributes.

A file comes in; its demonstrations by number, columns as (T, D) arrays and images as `Images` go out. The file is
opened for each look and closed after it, so that readers can travel between processes. h5py's objects are `Any`:
its types cannot say what lies at a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool.episode import BadInput, Episode, Images
from importer.pool.images import as_rgb, shape_of
from importer.pool.labels import assemble, labels_of
from importer.pool.mapping import LOOKED_AT, Column, Mapping, Schema, usual_columns
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

    def files(self, episode_index: int) -> list[Path]:
        return [self.path]

    def read(self, episode_index: int) -> Episode:
        name = self.demos.get(episode_index)
        if name is None:
            raise BadInput(self.path, "data", f"there is no demonstration {episode_index}")
        with opened(self.path) as file:
            demo = file[f"data/{name}"]
            rows = rows_of(lambda c: column_of(demo, c, self.path), self.mapping, self.path, self.schema.fps)
            labels = labels_of(dict(demo.attrs), self.mapping, self.path)
            return assemble(episode_index, rows, labels, self.images(demo, rows), task=self.task)

    def images(self, demo: Any, rows: Rows) -> Images | None:
        """The primary camera's frames; formats without images do not override this."""
        return None


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


def demonstrations(file: Any, path: Path) -> dict[int, str]:
    """episode_index → name of the group in `data`: its own number where all have one, else its place by name.

    Raises:
        BadInput: there is no `data`, or nothing in it.
    """
    import h5py

    data = file.get("data")
    if not isinstance(data, h5py.Group):
        found = ", ".join(file) or "nothing"
        raise BadInput(path, "data", f"expected a group `data` with demonstrations, found {found}")
    names = sorted(str(name) for name in data if isinstance(data.get(name), h5py.Group))
    if not names:
        raise BadInput(path, "data", "it contains no demonstrations")
    numbers = [DEMO.fullmatch(name) for name in names]
    own = {int(match[1]): name for match, name in zip(numbers, names, strict=True) if match}
    return own if len(own) == len(names) else dict(enumerate(names))


def names_by_index(demos: dict[int, str]) -> dict[int, str]:
    """episode_index → the name that its trajectory_id ends with: a number of six digits where demos are numbered."""
    return {i: f"{i:06d}" if (m := DEMO.fullmatch(name)) and int(m[1]) == i else name for i, name in demos.items()}


def usual(data: Any, demos: dict[int, str]) -> tuple[dict[str, Column], list[str], list[str]]:
    """Columns, image arrays (`obs/*_image`) and attributes of the first demonstrations."""
    looked_at = [data[name] for name in list(demos.values())[:LOOKED_AT]]
    images = {f"obs/{name}" for demo in looked_at for name in demo.get("obs", ()) if name.endswith(CAMERA_END)}
    attributes = {name: None for demo in looked_at for name in demo.attrs}
    return usual_columns(arrays_of(demo) for demo in looked_at), sorted(images), list(attributes)


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

    item = demo.get(name)
    if not isinstance(item, h5py.Dataset):
        return None
    if item.dtype.kind not in "fiub" or item.ndim not in (1, 2):
        raise BadInput(path, f"{demo.name}/{name}", f"expected numbers in T rows, found {item.dtype} {item.shape}")
    width = item.shape[1] if item.ndim == 2 else 1
    return np.asarray(item[()], dtype=np.float64).reshape(len(item), width)


def json_attribute(item: Any, name: str) -> dict[str, Any]:
    """An attribute that holds a JSON object; empty where it is missing or unreadable."""
    try:
        value = json.loads(item.attrs[name])
    except (KeyError, ValueError, TypeError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


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
        stored = array.chunks[0] if array.chunks else 1
        fitting = max(1, BLOCK_BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))
        return cls(path, key, len(array), width, height, max(1, fitting // stored * stored))

    def frames(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """One block is in memory; it begins at a multiple of its length, so that no chunk is unpacked twice."""
        begin, block = 0, np.empty(0)
        with opened(self.path) as file:
            array: Any = file[self.key]
            for row in rows:
                if not begin <= row < begin + len(block):
                    begin = row // self.block * self.block
                    block = array[begin : begin + self.block]
                yield as_rgb(block[row - begin], self.path, f"{self.key}[{row}]")
