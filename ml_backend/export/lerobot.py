"""A LeRobot dataset of the pool with the reward model's rewards in it: a workspace in, a folder that lerobot loads out.

Tables and metadata are written anew; everything else, the videos above all, is hard-linked, so that it takes no space
and no time, and is copied where the disk is another one. The source is never written to. The folder appears when it is
complete; made again from the same inputs it is left as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importer.pool.dataset import format_of, open_dataset
from importer.pool.lerobot import read_info
from ml_backend.export import lerobot_tables as tables
from ml_backend.export.lerobot_tables import Added
from ml_backend.export.rewards import active_model, rewards_of
from preference.artifacts import confined, replacing, sha256_of
from preference.config import Dataset
from preference.errors import UserError
from preference.records import Trajectory
from preference.work import progress
from preference.workspace import Workspace

MARKER = "meta/robopref.json"
"""Says what the export was made from; written last, and what `export lerobot` recognizes its own folders by."""
RECIPE = 1
"""Part of what the marker remembers: raise it when the same inputs give other files."""


@dataclass(frozen=True)
class LeRobotExport:
    """What is at `path`."""

    path: Path
    dataset: str
    model: str
    columns: list[str]
    episodes: int
    """With a reward."""
    without: int
    """Episodes whose reward is nan: the pool could not read them."""
    linked: int
    copied: int
    unchanged: bool = False
    """It was there already, from the same inputs."""


def export_lerobot(
    ws: Workspace, folder: Path, *, dataset: str = "", column: str = "reward", copy: bool = False
) -> LeRobotExport:
    """Write the dataset to `folder`, with the columns `column` and `column_so_far` (see rewards.py).

    Args:
        dataset: Its name in robopref.toml; may be left out where the pool has one only.
        copy: Copy the videos too, for those who want to change files in place.

    Raises:
        NotReady: there is no model, or no pool.
        UserError: there is no such dataset, it is no LeRobot dataset, or `folder` holds something else.
        DataError: a file of the dataset is broken, or has a column of that name.
    """
    chosen = _dataset(ws, dataset)
    trajectories = [t for t in ws.store.trajectories() if t.dataset == chosen.name]
    if not trajectories:
        raise UserError(f"The pool holds no episode of {chosen.name}.", fix="Run `robopref pool` first.")
    folder = folder.absolute()
    _check_place(chosen.path, folder)
    made = _Made(ws, chosen, trajectories, column, copy)
    left = _left_behind(folder, chosen.name)
    if left.get("inputs") == made.inputs:
        return LeRobotExport(**{**left["result"], "path": folder, "unchanged": True})
    rewards = rewards_of(ws, trajectories)
    opened = open_dataset(chosen)
    by_episode = {opened.index_of(t): rewards[t.trajectory_id] for t in trajectories if t.trajectory_id in rewards}
    with replacing(folder) as building:
        return made.write(building, folder, Added(column, by_episode), len(opened.episodes))


@dataclass
class _Made:
    """One export under way."""

    ws: Workspace
    dataset: Dataset
    trajectories: Sequence[Trajectory]
    column: str
    copy: bool

    def __post_init__(self) -> None:
        record = active_model(self.ws)
        self.source = self.dataset.path
        self.info = read_info(self.source)
        self.files = _files_of(self.source)
        self.model = record.version
        stats = [(str(name), *_stat(path)) for name, path in self.files.items()]
        spans = [(t.trajectory_id, t.start_s, t.end_s) for t in self.trajectories]
        digest = sha256_of(confined(self.ws.root, record.path) / "model.pt")
        text = json.dumps([RECIPE, digest, self.column, self.copy, stats, spans])
        self.inputs = hashlib.sha256(text.encode()).hexdigest()

    def write(self, building: Path, folder: Path, added: Added, episodes: int) -> LeRobotExport:
        place = self.source / "meta" / "info.json"
        tables.check_free(self.info, place, added)
        counts: dict[int, int] = {}
        linked = copied = 0
        # the data first: statistics need the number of rows of each episode
        order = sorted(self.files, key=lambda name: (name.parts[0] != "data", name))
        with progress("LeRobot dataset", len(order)) as advance:
            for name in order:
                target = building / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not self._write_table(name, target, counts, added):
                    by_link = not self.copy and _linked(self.files[name], target)
                    if not by_link:
                        shutil.copyfile(self.files[name], target)
                    linked, copied = linked + by_link, copied + (not by_link)
                advance(1)
        result = LeRobotExport(
            folder, self.dataset.name, self.model, list(added.names), len(added.rewards),
            episodes - len(added.rewards), linked, copied,
        )  # fmt: skip
        (building / MARKER).write_text(self._marker(result, added), encoding="utf-8")
        return result

    def _write_table(self, name: Path, target: Path, counts: dict[int, int], added: Added) -> bool:
        """Write `name` anew, if it is one of the files that rewards change."""
        source = self.files[name]
        if name.parts[0] == "data" and name.suffix == ".parquet":
            counts |= tables.write_data(source, target, self.info, added)
        elif name == Path("meta/info.json"):
            target.write_text(json.dumps(tables.with_features(self.info, added), indent=4) + "\n", encoding="utf-8")
        elif name == Path("meta/stats.json"):
            tables.write_stats(source, target, counts, added)
        elif name.parts[:2] == ("meta", "episodes") and name.suffix == ".parquet":
            tables.write_episodes(source, target, counts, added)
        elif name == Path("meta/episodes.jsonl"):
            tables.write_episode_lines(source, target, added)
        elif name == Path("meta/episodes_stats.jsonl"):
            tables.write_episode_stats(source, target, counts, added)
        else:
            return False
        return True

    def _marker(self, result: LeRobotExport, added: Added) -> str:
        said = {
            added.column: "The episode's reward by the model, the same on each of its rows; higher is better. Only "
            "differences within one task mean anything.",
            added.so_far: "The model's reward of the episode up to this row; on the last row the episode's. The model "
            "learned from whole episodes: its word on a part is an extrapolation.",
        }
        kept = {**vars(result), "path": ""}
        written = {"made_by": "robopref export lerobot", "columns": said, "result": kept, "inputs": self.inputs}
        return json.dumps(written | {"files": [name.as_posix() for name in self.files]}, indent=2) + "\n"


def _dataset(ws: Workspace, name: str) -> Dataset:
    known = ws.config.pool.dataset
    names = ", ".join(one.name for one in known) or "none"
    if not name and len(known) != 1:
        raise UserError(f"The pool has {len(known)} datasets: {names}.", fix="Say which with --dataset.")
    found = [one for one in known if one.name == name] if name else known
    if not found:
        raise UserError(f"There is no dataset {name!r} in robopref.toml; there are: {names}.")
    if not (kind := format_of(found[0])).startswith("lerobot"):
        raise UserError(
            f"{found[0].path} is {kind}, and `export lerobot` adds rewards to LeRobot datasets.",
            fix="The rewards of each of its episodes are in a release's rewards.csv.",
        )
    return found[0]


def _check_place(source: Path, folder: Path) -> None:
    source, target = source.resolve(), folder.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise UserError(f"{folder} and the source dataset {source} lie in each other.", fix="Name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file.", fix="Name a folder that does not exist yet.")


def _left_behind(folder: Path, dataset: str) -> dict[str, Any]:
    """The marker of an export that is there; {} where the folder is missing or empty.

    Raises:
        UserError: the folder holds anything that an export of this dataset did not write.
    """
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not here:
        return {}
    marker: dict[str, Any] = {}
    own, whose = set(), dataset
    with suppress(OSError, ValueError, KeyError, TypeError):
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        own, whose = {*marker["files"], MARKER}, marker["result"]["dataset"]
    if whose != dataset:
        raise UserError(f"{folder} holds the export of {whose!r}.", fix="Name another folder.")
    if foreign := sorted(here - own):
        raise UserError(f"{folder} holds {foreign[0]}, which is not of this export.", fix="Name another folder.")
    return marker if here == own else {}


def _files_of(source: Path) -> dict[Path, Path]:
    """Relative name → the file, in order; links of the Hugging Face cache lead to its `blobs`. Hidden files are left.

    Raises:
        UserError: a link leads out of the dataset.
    """
    blobs = [source.parent.parent / "blobs"] if source.parent.name == "snapshots" else []
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    kept = [name for name in names if name.as_posix() != MARKER and not any(part[0] == "." for part in name.parts)]
    return {name: confined(source, name, *blobs) for name in kept}


def _stat(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _linked(source: Path, target: Path) -> bool:
    """Make a hard link; False where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
