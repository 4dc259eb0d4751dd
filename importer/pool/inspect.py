"""What a dataset contains, how Robopref reads each part, and the lines of robopref.toml that correct it.

A path comes in, an `Inspection` goes out; nothing is written. The first episode that can be read is measured, so that
its values show whether a guess is right. What a pool needs and the data do not say (the actions, the task, the rate) is
guessed as well: its lines are not comments, and a note asks to correct them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from importer.pool.dataset import OpenDataset, open_dataset
from importer.pool.episode import BadInput, Episode, VideoSpan
from importer.pool.mapping import REWARDS, ROW_SUCCESS, TIMES, Column, NoAction, Ref, Schema
from importer.pool.overview import is_wrist
from importer.pool.video import probe
from preference.config import Dataset
from preference.config_file import default_name, located
from preference.errors import UserError

TRIED = 10
"""Episodes that are tried for one that can be read."""
COMMANDS = ("action", "command", "cmd", "target", "control", "ctrl", "desired")
"""Parts of the names of columns that hold what the robot was told."""
AXES = ("x", "y", "z")
NOT_TOML = re.compile("[\x7f\ud800-\udfff]")
"""What JSON leaves as it is and TOML does not take."""
USUAL_RATE = 20.0
"""Rows per second, where nothing says it."""


@dataclass(frozen=True)
class Role:
    """One thing that a pool needs from a dataset."""

    name: str
    place: str
    """Where it is; empty where nothing was found."""
    found: str
    """What the first episode has there."""
    guessed: bool


@dataclass(frozen=True)
class Inspection:
    """The answer to `robopref pool inspect`."""

    path: str
    format: str
    episodes: int
    first_id: str
    fps: float
    columns: list[Column]
    cameras: list[str]
    labels: list[str]
    roles: list[Role]
    dataset: Dataset
    """With what was guessed because the data do not say it."""
    toml: str
    """Its entry for robopref.toml."""
    notes: list[str] = field(default_factory=list)


def inspect(dataset: Dataset) -> Inspection:
    """Look at a dataset as `read_pool` would.

    Raises:
        BadInput: no reader recognizes it, or its metadata cannot be used.
    """
    dataset, guesses = _filled_in(dataset)
    opened = open_dataset(dataset)
    reader = opened.reader
    episode, trouble = first_good(opened)
    notes = [*reader.schema.notes, *guesses, *([str(trouble)] if trouble else [])]
    return Inspection(
        path=str(dataset.path),
        format=reader.schema.format,
        episodes=len(opened.episodes),
        first_id=opened.trajectory_id(min(opened.episodes)),
        fps=episode.fps if episode else reader.schema.fps,
        columns=list(reader.schema.columns.values()),
        cameras=reader.schema.cameras,
        labels=reader.schema.labels,
        roles=_roles(opened, episode),
        dataset=dataset,
        toml=_toml(opened, episode),
        notes=notes,
    )


def _filled_in(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """`dataset` with guesses for what its data do not say and reading needs, and a sentence on each of them.

    Raises:
        BadInput: as `inspect`.
    """
    notes: list[str] = []
    try:
        schema = open_dataset(dataset).reader.schema
    except NoAction as error:
        schema = error.schema
        action, state = _likely_columns(schema)
        if not action:
            raise
        dataset = _with_columns(dataset, action=action, state=dataset.columns.state or state)
        notes.append(
            f"No column is called `action`; taken for it: {', '.join(action)}. If the robot was told something else, "
            "correct columns.action, which may list several columns."
        )
    if not dataset.columns.effector and all(axis in schema.columns for axis in AXES):
        dataset = _with_columns(dataset, effector=list(AXES))
    fixed = [camera for camera in schema.cameras if not is_wrist(camera)]
    if not dataset.columns.camera and fixed and is_wrist(schema.cameras[0]):
        dataset = _with_columns(dataset, camera=fixed[:1])
    for _ in range(2):
        episode, troubles = _tried(open_dataset(dataset))
        if episode:
            break  # a guess is for all episodes, and what one of them lacks others may say
        lacking = {trouble.field for trouble in troubles if isinstance(trouble, BadInput)}
        if "fps" in lacking and not dataset.fps:
            dataset = dataset.model_copy(update={"fps": USUAL_RATE})
            notes.append(f"Nothing says how many rows there are per second. {USUAL_RATE:g} is a guess: correct fps.")
        elif "task_type" in lacking and not dataset.task_type:
            dataset = dataset.model_copy(update={"task_type": dataset.name})
            notes.append("Nothing says what the task is. Only episodes of one task are compared: correct task_type.")
    return dataset, notes


def _with_columns(dataset: Dataset, **names: object) -> Dataset:
    return dataset.model_copy(update={"columns": dataset.columns.model_copy(update=names)})


def _likely_columns(schema: Schema) -> tuple[list[str], list[str]]:
    """Action and state: columns that sound like commands, and the others with no meaning of their own; if none sounds
    like a command, the motion stands for the action."""
    known = {*TIMES, *REWARDS, *ROW_SUCCESS}
    words = {name: {name, name.rpartition("/")[2].partition(".")[0]} for name in schema.columns}  # /arm/success.data
    free = [name for name in words if not words[name] & known and "index" not in name and "frame" not in name]
    told = [name for name in free if any(word in name.lower() for word in COMMANDS)]
    return (told, [name for name in free if name not in told]) if told else (free, [])


def first_good(opened: OpenDataset) -> tuple[Episode | None, UserError | None]:
    """The first episode that can be read, and what is wrong with the first one that cannot."""
    episode, troubles = _tried(opened)
    return episode, troubles[0] if troubles else None


def _tried(opened: OpenDataset) -> tuple[Episode | None, list[UserError]]:
    """The first episode that can be read, and what is wrong with those before it."""
    troubles: list[UserError] = []
    for index in list(opened.episodes)[:TRIED]:
        try:
            return opened.read(index), troubles
        except UserError as error:
            troubles.append(error)
    # where the files of the first few are missing, try one whose files exist
    for index in opened.episodes:
        if all(file.exists() for file in opened.reader.files(index)):
            try:
                return opened.read(index), troubles
            except UserError:
                break
    return None, troubles


def _roles(opened: OpenDataset, episode: Episode | None) -> list[Role]:
    mapping = opened.reader.mapping
    refs: dict[str, list[Ref]] = {
        "action": list(mapping.action),
        "state": list(mapping.state),
        "effector": list(mapping.effector),
        "gripper": [mapping.gripper] if mapping.gripper else [],
        "force": [mapping.force] if mapping.force else [],
        "success": [mapping.success] if mapping.success else [],
    }
    places = {name: ", ".join(str(ref) for ref in found) for name, found in refs.items()}
    places["success"] = mapping.success_label or places["success"]
    places |= {"camera": ", ".join(mapping.cameras), "source": mapping.source_label, "quality": mapping.quality_label}
    places |= {"task_type": "", "time": mapping.time, "reward": mapping.reward}
    values = _values(episode) if episode else {}
    guessed = {*mapping.guessed, "task_type", "time", "reward"}
    return [Role(name, place, values.get(name, ""), name in guessed) for name, place in places.items()]


def _values(episode: Episode) -> dict[str, str]:
    """What the episode has in each role, in a few words."""
    return {
        "action": f"{episode.actions.shape[0]} rows of {episode.actions.shape[1]}",
        "state": f"{episode.state.shape[1]} numbers a row" if episode.state.shape[1] else "",
        "effector": _span(np.linalg.norm(np.diff(episode.effector, axis=0), axis=1).sum(keepdims=True), " travelled"),
        "gripper": _span(episode.gripper, ""),
        "force": _span(episode.force, " N"),
        "reward": _span(episode.rewards, ""),
        "success": "" if episode.success is None else str(episode.success).lower(),
        "source": episode.source if episode.source != "unknown" else "",
        "quality": f"{episode.quality:.4g}" if np.isfinite(episode.quality) else "",
        "task_type": episode.task_type,
        "time": f"{episode.length_s:.2f} s at {episode.fps:.4g} rows a second",
        "camera": _picture(episode),
    }


def _span(values: np.ndarray, unit: str) -> str:
    if not len(values) or not np.isfinite(values).all():
        return ""
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}{unit}" if low == high else f"{low:.4g} to {high:.4g}{unit}"


def _picture(episode: Episode) -> str:
    video = episode.video
    if video is None:
        return ""
    if isinstance(video, VideoSpan):
        found = probe(video.path, "video")
        return f"{found.codec}, {found.width}x{found.height}, {found.fps:.4g} frames a second"
    return f"images, {video.width}x{video.height}"


def _toml(opened: OpenDataset, episode: Episode | None) -> str:
    """The dataset's entry for robopref.toml: what has to be filled in, and what was guessed, as comments to change."""
    dataset, mapping = opened.dataset, opened.reader.mapping
    lines = ["[[pool.dataset]]", f"path = {_quoted(str(dataset.path))}"]
    lines.append(f"name = {_quoted(dataset.name)}  # part of each trajectory id: keep it stable")
    if dataset.task_type:
        lines.append(f"task_type = {_quoted(dataset.task_type)}  # the data do not say")
    elif episode:
        lines.append(f"# task_type = {_quoted(episode.task_type)}  # one name for all, where only the wording differs")
    if not mapping.source_label:
        lines.append('source = ""  # who made these episodes: expert, novice, scripted, policy_checkpoint_3 …')
    if episode and episode.success is None:
        lines.append("# success = true  # where all of them succeeded; or name a column, or a sidecar file")
    if dataset.fps:
        lines.append(f"fps = {dataset.fps:g}  # the data do not say")
    lines.append('# sidecar = ""  # a CSV file with a column `episode` and any of source, success, task_type, quality')
    lines.append("[pool.dataset.columns]")
    given = dataset.columns
    lines.append(f"{'' if given.action else '# '}action = {_list([str(ref) for ref in mapping.action])}")
    lines.append(f"{'' if given.camera else '# '}camera = {_cameras(opened)}")
    found = {"gripper": str(mapping.gripper or "")}
    found |= {"force": str(mapping.force or ""), "success": mapping.success_label or str(mapping.success or "")}
    found |= {"source": mapping.source_label, "quality": mapping.quality_label}
    for name, value in found.items():
        hint = "" if value else "  # not found" + (_candidates(opened) if name == "gripper" else "")
        lines.append(f"# {name} = {_quoted(value)}{hint}")
    effector = [str(ref) for ref in mapping.effector]
    hint = "" if effector else "  # not found: a column, or three numbers"
    lines.append(f"{'' if given.effector else '# '}effector = {_list(effector)}{hint}")
    lines.append(f"{'' if given.state else '# '}state = {_list([str(ref) for ref in mapping.state])}")
    if mapping.gripper and mapping.gripper_range != (0.0, 1.0):
        lines.append(f"# gripper_range = {json.dumps(list(mapping.gripper_range))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text from a dataset as TOML on one line: a name that holds a line of settings stays a name."""
    return NOT_TOML.sub("\N{REPLACEMENT CHARACTER}", json.dumps(text, ensure_ascii=False))


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _cameras(opened: OpenDataset) -> str:
    cameras = opened.reader.mapping.cameras
    names = [name for name in opened.reader.schema.cameras if name not in cameras]
    others = f"  # or {', '.join(map(_quoted, names))}; or a list, for the reward model to see several" if names else ""
    return (_list(cameras) if len(cameras) > 1 else _quoted("".join(cameras))) + others


def _candidates(opened: OpenDataset) -> str:
    """Numbers whose name speaks of a gripper, where none was found."""
    columns = opened.reader.schema.columns.values()
    names = [name for c in columns for name in (c.names or ([c.name] if c.width == 1 else []))]
    found = [name for name in names if "grip" in name.lower()]
    return (
        f"; perhaps {', '.join(map(_quoted, found[:3]))}, with gripper_range = [value when open, when closed]"
        if found
        else ""
    )


def dataset_at(path: Path) -> Dataset:
    """A dataset with default settings.

    Raises:
        BadInput: there is nothing at `path`.
    """
    path = located(path)
    if not path.exists():
        there = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=1)
        raise BadInput(path, "", "not found", fix=f"Did you mean {path.with_name(near[0])}?" if near else "")
    return Dataset(path=path, name=default_name(path))
