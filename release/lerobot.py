"""A LeRobot dataset of the pool with the reward model's rewards in it: a workspace in, a folder that lerobot loads out.

Tables and metadata are rewritten with more columns (`lerobot_tables`); everything else, the videos above all, is
hard-linked, which takes no space and no time, or copied where the disk is another one. The source is never written to.
The folder appears when it is complete; made again from the same inputs it is left as it is.

People judged whole trajectories: no single frame has a reward that anybody gave. But the model's reward is a mean over
steps, so each step has its part of it, and the parts add up to the trajectory's reward; progress and success are
learned from which trajectories succeeded and when.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool import read_episode
from importer.pool.dataset import format_of, open_dataset
from importer.pool.lerobot import read_info
from importer.pool.video import sample_rows
from ml_backend.loop.spec import features_for
from ml_backend.reward.model import RewardModel
from preference.artifacts import confined, read_json, replacing, sha256_of, write_json
from preference.config import Dataset
from preference.errors import NotReady, UsageError, UserError
from preference.records import ModelVersion, Trajectory
from preference.work import progress
from preference.workspace import Workspace
from release.lerobot_tables import (
    KEPT,
    NEXT,
    PROGRESS,
    Added,
    Rewarded,
    check_free,
    write_progress,
    write_table,
)

MARKER = "meta/robopref.json"
"""Says what the export was made from; written last, and what `export lerobot` recognizes its own folders by."""
RECIPE = 4
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
    best: int = 0
    """Episodes of weight 1, where a share was asked for."""
    unchanged: bool = False
    """It was there already, from the same inputs."""


def export_lerobot(
    ws: Workspace,
    folder: Path,
    *,
    dataset: str = "",
    column: str = "reward",
    copy: bool = False,
    best: float | None = None,
    next_reward: bool = False,
) -> LeRobotExport:
    """Write the dataset to `folder`, with `column` and others that begin with its name, and `PROGRESS` where the model
    knows progress.

    Args:
        dataset: Its name in robopref.toml; may be omitted where the pool has only one.
        copy: Copy the videos too, for those who want to change files in place.
        next_reward: Fill `next.reward` with each row's part of the reward; the dataset's own becomes
            `next.reward_source`.
        best: A share, such as 0.3: the column `column_weight` is 1 for the best 30 % of each task type, else 0.

    Raises:
        NotReady: there is no model, or no pool.
        UserError: there is no such dataset, it is not a LeRobot dataset, or `folder` holds something else.
        UsageError: `best` is no share, or `column` is one that `next_reward` fills.
        DataError: a file of the dataset is broken, or has a column of that name.
    """
    if best is not None and not 0.0 < best <= 1.0:
        raise UsageError(f"--best: expected a share above 0 and up to 1, found {best:g}.", fix="0.3 is the best 30 %.")
    if next_reward and column in (NEXT, KEPT):
        raise UsageError(f"--column and --next-reward both name {column}.", fix="Name another one with --column.")
    chosen = _dataset(ws, dataset)
    trajectories = [t for t in ws.store.trajectories() if t.dataset == chosen.name and not t.adopted]
    if not trajectories:
        raise UserError(f"The pool has no episodes of {chosen.name}.", fix="Run `robopref pool` first.")
    record = _active_model(ws)
    folder = folder.absolute()
    _check_place(chosen.path, folder)
    files = _files_of(chosen.path)
    stats = [(str(name), (found := path.stat()).st_size, found.st_mtime_ns) for name, path in files.items()]
    spans = [(t.trajectory_id, *t.seen, t.task_type, t.robot) for t in trajectories]
    spans += [("columns", chosen.columns.model_dump_json())]
    digest = sha256_of(confined(ws.root, record.path) / "model.pt")
    options = [column, copy, best, *([NEXT] if next_reward else [])]
    inputs = hashlib.sha256(json.dumps([RECIPE, digest, *options, stats, spans]).encode()).hexdigest()
    left = _previous(folder, chosen.name)
    if left.get("inputs") == inputs:
        return LeRobotExport(**{**left["result"], "path": folder, "unchanged": True})
    rewards = rewards_of(ws, trajectories)
    opened = open_dataset(chosen)
    by_episode = {opened.index_of(t): rewards[t.trajectory_id] for t in trajectories if t.trajectory_id in rewards}
    known = [t for t in trajectories if t.trajectory_id in rewards]
    kept = None
    if best is not None:
        found = best_of_each([rewards[t.trajectory_id].reward for t in known], [t.task_type for t in known], best)
        kept = {opened.index_of(t) for t, is_best in zip(known, found, strict=True) if is_best}
    outcomes = next((tuple(one.outcomes) for one in rewards.values()), ())
    added = Added(column, by_episode, kept, outcomes, next_reward)
    with replacing(folder) as building:
        linked, copied = _write_dataset(chosen.path, files, building, added, copy)
        names = list(files)
        if (progressing := f"{column}_progress") in added.names:
            write_progress(building, progressing)
            names.append(Path(PROGRESS))
        without = len(opened.episodes) - len(by_episode)
        result = LeRobotExport(
            folder,
            chosen.name,
            record.version,
            list(added.names),
            len(by_episode),
            without,
            linked,
            copied,
            len(kept or ()),
        )
        _write_marker(building / MARKER, result, added, inputs, names)
    return result


def best_of_each(rewards: Sequence[float] | np.ndarray, task_types: Sequence[str], share: float) -> np.ndarray:
    """(N,) bool: whether a trajectory is of the best share of its task type, of which at least one is kept."""
    rewards, kinds = np.asarray(rewards, dtype=np.float64), np.asarray(task_types)
    kept = np.zeros(len(rewards), bool)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        order = rows[np.argsort(-rewards[rows], kind="stable")]
        kept[order[: max(1, round(share * len(rows)))]] = True
    return kept


def rewards_of(ws: Workspace, trajectories: Sequence[Trajectory]) -> dict[str, Rewarded]:
    """trajectory_id → rewards by the active model; trajectories that cannot be read are not in it.

    Raises:
        NotReady: there is no model.
        DataError: the model cannot be read, or its encoder is no longer here.
    """
    folder = confined(ws.root, _active_model(ws).path)
    model = RewardModel.load(folder / "model.pt")
    store = features_for(ws, model.spec, folder)
    known = [t for t in trajectories if t.trajectory_id in store]
    found = {}
    said = model.score_steps(store.sequence([t.trajectory_id for t in known]))
    with progress("Rewards", len(known)) as advance:
        for t, own in zip(known, said, strict=True):
            time = read_episode(ws.config.pool, t).time
            rows = sample_rows(time, *t.seen, model.spec.sample_fps, model.spec.max_frames)
            outcomes = {name: values.mean(axis=0) for name, values in own.outcomes.items()}
            found[t.trajectory_id] = Rewarded(rows, own.rewards.mean(axis=0), outcomes)
            advance(1)
    return found


def _active_model(ws: Workspace) -> ModelVersion:
    record = ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model.", fix="Run `robopref train` first.")
    return record


def _write_dataset(
    source: Path, files: Mapping[Path, Path], building: Path, added: Added, copy: bool
) -> tuple[int, int]:
    """Every file of the dataset; how many were linked and copied."""
    info = read_info(source)
    check_free(source / "meta" / "info.json", info["features"], added)
    counts: dict[int, int] = {}
    linked = copied = 0
    # the data first: statistics need the number of rows of each episode
    order = sorted(files, key=lambda name: (name.parts[0] != "data", name))
    with progress("LeRobot dataset", len(order)) as advance:
        for name in order:
            target = building / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not write_table(name, files[name], target, info, counts, added):
                is_link = not copy and _linked(files[name], target)
                if not is_link:
                    shutil.copyfile(files[name], target)
                linked, copied = linked + is_link, copied + (not is_link)
            advance(1)
    return linked, copied


def _write_marker(path: Path, result: LeRobotExport, added: Added, inputs: str, files: Iterable[Path]) -> None:
    said = {
        "": "The episode's reward by the model, the same on each of its rows; higher is better. Only differences "
        "within a task are meaningful.",
        "step": "This row's part of the episode's reward; over its rows they add up to it.",
        "so_far": "The sum of these up to this row; on the last row the episode's reward.",
        "progress": "How far the task is, from 0 to 1, where it is done; by the model.",
        "success": "The probability that the task has been done by this row; by the model.",
        "weight": "1 where the episode is of the best of its task by the model's reward, else 0; `best` lists those "
        "episodes.",
        NEXT: f"This row's part of the episode's reward, as in {added.column}_step; {KEPT} is the dataset's own.",
    }
    written: dict[str, Any] = {
        "made_by": "robopref export lerobot",
        "columns": {name: said[added.part(name)] for name in added.names},
    }
    if added.best is not None:
        written["best"] = sorted(added.best)
    written |= {"result": vars(result) | {"path": ""}, "inputs": inputs, "files": [name.as_posix() for name in files]}
    write_json(path, written)


def _dataset(ws: Workspace, name: str) -> Dataset:
    known = ws.config.pool.dataset
    names = ", ".join(one.name for one in known) or "none"
    if not name and len(known) != 1:
        raise UserError(f"The pool has {len(known)} datasets: {names}.", fix="Choose one with --dataset.")
    found = [one for one in known if one.name == name] if name else known
    if not found:
        raise UserError(f"robopref.toml has no dataset named {name!r}.", fix=f"Datasets: {names}.")
    if not (kind := format_of(found[0])).startswith("lerobot"):
        raise UserError(
            f"{found[0].path} is {kind}, and `export lerobot` adds rewards to LeRobot datasets.",
            fix="A release's rewards.csv has the reward of each of its episodes.",
        )
    return found[0]


def _check_place(source: Path, folder: Path) -> None:
    source, target = source.resolve(), folder.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise UserError(f"{folder} and the source dataset {source} overlap.", fix="Name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file.", fix="Name a folder that does not exist yet.")


def _previous(folder: Path, dataset: str) -> dict[str, Any]:
    """The marker of an earlier export that is complete; {} where the folder is missing, empty, or lacks some files.

    Raises:
        UserError: the folder holds anything that an export of this dataset did not write.
    """
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not here:
        return {}
    marker: dict[str, Any] = {}
    own, whose = set(), dataset
    with suppress(UserError, KeyError, TypeError):
        marker = read_json(folder / MARKER)
        own, whose = {*marker["files"], MARKER}, marker["result"]["dataset"]
    if whose != dataset:
        raise UserError(f"{folder} holds the export of {whose!r}.", fix="Name another folder.")
    if foreign := sorted(here - own):
        raise UserError(f"{folder} holds {foreign[0]}, which is not part of this export.", fix="Name another folder.")
    return marker if here == own else {}


def _files_of(source: Path) -> dict[Path, Path]:
    """Relative name → the file, in order; links of the Hugging Face cache lead to its `blobs`. Without hidden files.

    Raises:
        UserError: a link leads out of the dataset.
    """
    blobs = [source.parent.parent / "blobs"] if source.parent.name == "snapshots" else []
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    kept = [
        name for name in names if name.as_posix() not in (MARKER, PROGRESS) and not any(p[0] == "." for p in name.parts)
    ]
    return {name: confined(source, name, *blobs) for name in kept}


def _linked(source: Path, target: Path) -> bool:
    """Hard-link; False where that is impossible."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
