"""What a dataset contains, how Robopref reads each part, and the lines of robopref.toml that correct it.

A path comes in, an `Inspection` goes out; nothing is written. The first episode that can be read is measured, so that
its values show whether a guess is right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from importer.pool.dataset import OpenDataset
from importer.pool.episode import BadInput, Episode, VideoSpan
from importer.pool.mapping import Column, Ref
from importer.pool.video import probe
from preference.config import Dataset
from preference.errors import UserError

TRIED = 10
"""Episodes that are tried for one that can be read."""


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
    notes: list[str] = field(default_factory=list)
    toml: str = ""


def inspect(dataset: Dataset) -> Inspection:
    """Look at a dataset as `read_pool` would.

    Raises:
        BadInput: no reader recognizes it, or its metadata cannot be used.
    """
    opened = OpenDataset(dataset)
    reader = opened.reader
    episode, trouble = _first_good(opened)
    notes = [*reader.schema.notes, *([trouble] if trouble else [])]
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
        notes=notes,
        toml=_toml(opened, episode),
    )


def _first_good(opened: OpenDataset) -> tuple[Episode | None, str]:
    trouble = ""
    for index in list(opened.episodes)[:TRIED]:
        try:
            return opened.read(index), trouble
        except UserError as error:
            trouble = trouble or str(error)
    # where the files of the first few are missing, try one whose files exist
    for index in opened.episodes:
        if all(file.exists() for file in opened.reader.files(index)):
            try:
                return opened.read(index), trouble
            except UserError:
                break
    return None, trouble


def _roles(opened: OpenDataset, episode: Episode | None) -> list[Role]:
    mapping = opened.reader.mapping
    refs: dict[str, list[Ref]] = {
        "action": [mapping.action],
        "state": list(mapping.state),
        "effector": list(mapping.effector),
        "gripper": [mapping.gripper] if mapping.gripper else [],
        "force": [mapping.force] if mapping.force else [],
        "success": [mapping.success] if mapping.success else [],
    }
    places = {name: ", ".join(str(ref) for ref in found) for name, found in refs.items()}
    places["success"] = mapping.success_label or places["success"]
    places |= {"camera": mapping.camera, "source": mapping.source_label, "quality": mapping.quality_label}
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
    lines = ["[[pool.dataset]]", f"path = {json.dumps(str(dataset.path), ensure_ascii=False)}"]
    lines.append(f"name = {json.dumps(dataset.name, ensure_ascii=False)}  # part of each trajectory id: keep it stable")
    if not mapping.source_label:
        lines.append('source = ""  # who made these episodes: expert, novice, scripted, policy_checkpoint_3 …')
    if episode and episode.success is None:
        lines.append("# success = true  # where all of them succeeded; or name a column, or a sidecar file")
    if not (opened.reader.schema.fps > 0 or mapping.time or (episode and episode.fps > 0)):
        lines.append("fps = 20.0  # the data do not say")
    lines.append("[pool.dataset.columns]")
    found = {"camera": mapping.camera, "action": str(mapping.action), "gripper": str(mapping.gripper or "")}
    found |= {"force": str(mapping.force or ""), "success": mapping.success_label or str(mapping.success or "")}
    found |= {"source": mapping.source_label, "quality": mapping.quality_label}
    for name, value in found.items():
        hint = "" if value else "  # not found" + (_candidates(opened) if name == "gripper" else "")
        lines.append(f"# {name} = {json.dumps(value, ensure_ascii=False)}{hint}")
    effector = [str(ref) for ref in mapping.effector]
    hint = "" if effector else "  # not found: a column, or three numbers"
    lines.append(f"# effector = {json.dumps(effector)}{hint}")
    lines.append(f"# state = {json.dumps([str(ref) for ref in mapping.state])}")
    if mapping.gripper and mapping.gripper_range != (0.0, 1.0):
        lines.append(f"# gripper_range = {json.dumps(list(mapping.gripper_range))}")
    return "\n".join(lines) + "\n"


def _candidates(opened: OpenDataset) -> str:
    """Numbers whose name speaks of a gripper, where none was found."""
    columns = opened.reader.schema.columns.values()
    names = [name for c in columns for name in (c.names or ([c.name] if c.width == 1 else []))]
    found = [name for name in names if "grip" in name.lower()]
    return f"; perhaps {', '.join(found[:3])}, with gripper_range = [value when open, when closed]" if found else ""


def dataset_at(path: Path) -> Dataset:
    """A dataset with default settings.

    Raises:
        BadInput: there is nothing at `path`.
    """
    from preference.config import default_name

    path = path.expanduser().resolve()
    if not path.exists():
        raise BadInput(path, "", "not found")
    return Dataset(path=path, name=default_name(path))
