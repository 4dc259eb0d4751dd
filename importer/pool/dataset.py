"""A dataset of robopref.toml, opened: the right reader for its format, its sidecar file, and its episodes' ids.

An opened dataset is cached until its metadata change.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from importer.pool import hdf5
from importer.pool.episode import BadInput, Episode
from importer.pool.folder import Folder, episode_folders
from importer.pool.labels import Labels, complete, read_sidecar
from importer.pool.lerobot import read_info
from importer.pool.lerobot_v2 import LeRobotV2
from importer.pool.lerobot_v3 import LeRobotV3
from importer.pool.mapping import Mapping, Schema
from importer.pool.mcap import SUFFIX, Mcap, recordings
from importer.pool.outside import LAST_INDEX, guarded
from importer.pool.robomimic import Robomimic
from importer.pool.robosuite import Robosuite
from preference.config import Dataset, Pool
from preference.records import Trajectory

LONGEST = 60
FOREIGN = {
    "RLDS": (
        ("*.tfrecord*", "*.array_record*"),
        "Make a LeRobot dataset of it: LeRobot's examples/port_datasets/port_droid.py does so for DROID, and others "
        "differ in the names of their features. It reads with TensorFlow, which Robopref does not need otherwise.",
    ),
    "a ROS bag": (
        ("*.bag", "*.db3"),
        "Convert it to MCAP (`mcap convert in.bag out.mcap`, `ros2 bag convert`), one file for each episode, and name "
        "their folder.",
    ),
    "Zarr": (
        (".zgroup", "zarr.json", "*.zarr"),
        "Make a LeRobot dataset of it: read the arrays with the package zarr, and write rows with "
        "LeRobotDataset.create and add_frame.",
    ),
}
"""Formats that no reader here reads: name → patterns of its files, and what makes a LeRobot dataset of them."""
DEEPEST = 3
"""Folders below the one that was named, where TensorFlow Datasets keeps NAME/CONFIG/VERSION."""


class Reader(Protocol):
    """One format of trajectory data. Adding a format is adding a file that has a class like this.

    Making a reader reads the dataset's metadata only.
    """

    def __init__(self, dataset: Dataset) -> None: ...

    dataset: Dataset
    schema: Schema
    """What the dataset has."""
    mapping: Mapping
    """Which of its columns mean what."""

    def episodes(self) -> dict[int, str]:
        """episode_index → the name that its trajectory_id ends with."""
        ...

    def files(self, episode_index: int, cameras: Sequence[str] | None = None) -> list[Path]:
        """The files that the episode is made of, with the video of some cameras or (None) of all that are named; cheap,
        and they need not exist.

        Raises:
            DataError: a path leads out of the dataset.
        """
        ...

    def read(self, episode_index: int) -> Episode:
        """Read one episode.

        Raises:
            DataError: naming the file and the field.
        """
        ...


READERS: dict[str, type[Reader]] = {
    "lerobot_v2": LeRobotV2,
    "lerobot_v3": LeRobotV3,
    "robomimic": Robomimic,
    "robosuite": Robosuite,
    "folder": Folder,
    "mcap": Mcap,
}
"""Format in robopref.toml → its reader."""


class OpenDataset:
    """A dataset with its reader, the labels of its sidecar file, and its trajectory ids."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        with guarded(dataset.path):
            self.reader = open_reader(dataset)
            self.episodes = self.reader.episodes()
        for index in self.episodes:
            if not 0 <= index <= LAST_INDEX:
                raise BadInput(dataset.path, "episode_index", f"expected 0 to {LAST_INDEX}, found {index}")
        self.said: dict[int, Labels] = read_sidecar(Path(dataset.sidecar), self.episodes) if dataset.sidecar else {}

    def trajectory_id(self, episode_index: int) -> str:
        return trajectory_id(self.dataset.name, self.episodes[episode_index])

    def read(self, episode_index: int) -> Episode:
        """One episode, with what the sidecar file and robopref.toml say of it.

        Raises:
            BadInput: naming the file and the field.
        """
        with guarded(self.dataset.path):
            file = self.reader.files(episode_index)[0]
        with guarded(file):
            episode = self.reader.read(episode_index)
            return complete(episode, file, self.dataset, self.said.get(episode_index), self.reader.schema.robot)

    def index_of(self, trajectory: Trajectory) -> int:
        """Where the trajectory's episode is now: folders that came or went shift the numbers, never the ids.

        Raises:
            BadInput: the episode no longer exists.
        """
        index = trajectory.episode_index
        if index in self.episodes and self.trajectory_id(index) == trajectory.trajectory_id:
            return index
        if trajectory.trajectory_id not in self._by_id:
            reason = f"the episode of {trajectory.trajectory_id} no longer exists"
            raise BadInput(self.dataset.path, "", reason, fix="Put it back, or run `robopref pool`.")
        return self._by_id[trajectory.trajectory_id]

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {self.trajectory_id(index): index for index in self.episodes}


def open_dataset(dataset: Dataset) -> OpenDataset:
    """
    Raises:
        BadInput: the dataset is missing, or its metadata cannot be used.
    """
    return _opened(dataset.model_dump_json(), _stamps(dataset))


@lru_cache(maxsize=8)
def _opened(dataset: str, _stamps: tuple[int, ...]) -> OpenDataset:
    return OpenDataset(Dataset.model_validate_json(dataset))


def _stamps(dataset: Dataset) -> tuple[int, ...]:
    """Modification times of everything that an opened dataset caches."""
    meta = dataset.path / "meta"
    files = [dataset.path, *(sorted(meta.rglob("*")) if meta.is_dir() else [])]
    files += [Path(dataset.sidecar)] if dataset.sidecar else []
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())


def open_reader(dataset: Dataset) -> Reader:
    """The reader for the dataset's format, which is found from its files when the format is `auto`.

    Raises:
        BadInput: the dataset is missing, or no reader recognizes it.
    """

    if not dataset.path.exists():
        what = "file" if dataset.path.suffix in hdf5.SUFFIXES else "folder"
        raise BadInput(dataset.path, "", f"the dataset's {what} is missing", fix="Check pool.dataset.path.")
    if dataset.path.is_file() and dataset.path.suffix in hdf5.SUFFIXES:
        hdf5.check_walk(dataset.path)
    return READERS[format_of(dataset)](dataset)


def format_of(dataset: Dataset) -> str:
    """The format's name in robopref.toml.

    Raises:
        BadInput: no reader recognizes it.
    """

    if dataset.format != "auto":
        return dataset.format
    path = dataset.path
    if path.is_file():
        if path.suffix == SUFFIX:
            return "mcap"
        if path.suffix not in hdf5.SUFFIXES:
            _refuse_foreign(path)
            raise BadInput(path, "", f"expected a folder or an HDF5 file ({', '.join(hdf5.SUFFIXES)})")
        with hdf5.opened(path) as file:
            return "robomimic" if Robomimic.recognizes(file, path) else "robosuite"
    if not (path / "meta").is_dir():
        return _folder_or_hint(path)
    info = read_info(path)
    if LeRobotV3.recognizes(info):
        return "lerobot_v3"
    if LeRobotV2.recognizes(info):
        return "lerobot_v2"
    found = info.get("codebase_version")
    raise BadInput(path / "meta" / "info.json", "codebase_version", f"expected v2.0, v2.1 or v3.0, found {found!r}")


def _folder_or_hint(path: Path) -> str:
    files = sorted(file for suffix in hdf5.SUFFIXES for file in path.glob(f"*{suffix}"))
    if files:
        names = ", ".join(file.name for file in files[:3])
        fix = f'Name the file: path = "{files[0]}".'
        raise BadInput(
            path, "", f"this folder holds HDF5 files ({names}); each of them is a dataset of its own", fix=fix
        )
    if not episode_folders(path):
        if recordings(path):
            return "mcap"
        if deeper := next(path.glob(f"*/*/*{SUFFIX}"), None):
            raise BadInput(
                path, "", "its MCAP files lie deeper", fix=f"Name the folder that holds them: {deeper.parent}"
            )
        _refuse_foreign(path)
    return "folder"


def _refuse_foreign(path: Path) -> None:
    """
    Raises:
        BadInput: it is of a format that is known, and that no reader reads; with what converts it.
    """
    if found := foreign_format(path):
        name, fix = found
        raise BadInput(path, "", f"this is {name}, which Robopref does not read", fix=fix)


def foreign_format(path: Path) -> tuple[str, str] | None:
    """The name of the format at `path`, a file or a folder, and what to do; None where it is none of these."""
    for name, (patterns, fix) in FOREIGN.items():
        for pattern in patterns:
            if path.match(pattern):
                return name, fix
            if path.is_dir() and any(next(path.glob("*/" * depth + pattern), None) for depth in range(DEEPEST + 1)):
                return name, fix
    return None


def trajectory_id(dataset: str, episode: str) -> str:
    """`sample-000012`: the same on every run, and safe as a file name and in a URL."""
    return f"{_safe(dataset) or 'dataset'}-{_safe(episode) or 'episode'}"


def _safe(name: str) -> str:
    """Lower-case letters, digits and hyphens; where letters would be lost, or it is long, a short hash is added."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
    lost = any(c.isalnum() and not unicodedata.normalize("NFKD", c).encode("ascii", "ignore") for c in name)
    if not lost and len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
    return f"{text[:LONGEST].strip('-')}-{digest[:6]}".strip("-")


def files_read(config: Pool) -> list[Path]:
    """Files and folders that its episodes are read from."""
    return [path for one in config.dataset for path in (one.path, Path(one.sidecar)) if str(path) != "."]


def find_dataset(config: Pool, trajectory: Trajectory) -> Dataset:
    """The dataset that the trajectory came from.

    Raises:
        BadInput: robopref.toml no longer names it.
    """
    for dataset in config.dataset:
        if dataset.name == trajectory.dataset:
            return dataset
    fix = "Add it again, or run `robopref pool`."
    raise BadInput("robopref.toml", "pool.dataset", f"there is no dataset {trajectory.dataset!r}", fix=fix)


def read_episode(config: Pool, trajectory: Trajectory) -> Episode:
    """The arrays behind a trajectory of the manifest.

    Raises:
        DataError: the dataset is no longer configured, or the episode cannot be read any more.
    """
    opened = open_dataset(find_dataset(config, trajectory))
    return opened.read(opened.index_of(trajectory))


def files_of(config: Pool, trajectory: Trajectory, cameras: Sequence[str] | None = None) -> list[Path]:
    """The files that a trajectory's episode is made of, of some of its cameras or (None) of all that are named; cheap,
    and they need not exist."""
    opened = open_dataset(find_dataset(config, trajectory))
    return opened.reader.files(opened.index_of(trajectory), cameras)


def shown_camera(config: Pool, trajectory: Trajectory) -> tuple[str, bool]:
    """The camera that people see of a trajectory, empty where there is none, and whether it is the dataset's first: its
    primary one, or in its place the next that the episode has."""
    reader = open_dataset(find_dataset(config, trajectory)).reader
    camera = trajectory.cameras.split(", ")[0] or reader.mapping.camera
    return camera, camera in reader.schema.cameras[:1]


def feature_names_of(config: Pool, trajectory: Trajectory) -> dict[str, list[str]]:
    """What the trajectory's dataset calls the values of `action` and `state`; empty lists where it has no names."""
    return open_dataset(find_dataset(config, trajectory)).reader.mapping.names()
