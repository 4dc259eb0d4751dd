"""Labels of an episode as a whole: from the data, from the sidecar file, from robopref.toml.

The sidecar is the user's correction and wins over the data; the dataset's entry in robopref.toml fills what is left.
Only `task_type` of the entry wins over the data's, because tasks are often sentences that differ by a comma.
"""

from __future__ import annotations

from collections.abc import Mapping as Values
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool.episode import BadInput, Episode, Video
from importer.pool.mapping import Mapping
from importer.pool.outside import LARGEST, LONGEST_TEXT, printable
from importer.pool.rows import Rows
from preference.artifacts import read_csv
from preference.config import Dataset

KNOWN = ("source", "success", "task_type", "environment_id", "robot", "quality", "return")
KEY = "episode"
YES, NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class Labels:
    """Empty, None or nan where nothing is known."""

    source: str = ""
    success: bool | None = None
    task_type: str = ""
    environment_id: str = ""
    robot: str = ""
    quality: float = float("nan")
    true_return: float = float("nan")


def labels_of(values: Values[str, Any], mapping: Mapping, file: Path) -> Labels:
    """What an episode's own metadata say.

    Raises:
        BadInput: a label that is neither missing nor of its kind.
    """
    if mapping.quality_label and values.get(mapping.quality_label) is None and "quality" not in mapping.guessed:
        raise BadInput(file, mapping.quality_label, "the episode has no value for what `quality` names")
    return Labels(
        source=text(values.get(mapping.source_label)),
        success=truth(values.get(mapping.success_label), mapping.success_label, file),
        task_type=text(values.get("task_type")),
        environment_id=text(values.get("environment_id")),
        robot=text(values.get(mapping.robot_label)),
        quality=real(values.get(mapping.quality_label), mapping.quality_label, file),
        true_return=real(values.get("return"), "return", file),
    )


def assemble(index: int, rows: Rows, labels: Labels, views: Values[str, Video | None], *, task: str = "") -> Episode:
    """One episode from its arrays and what its own metadata say.

    Args:
        views: Of `views_of`; empty for datasets without images.
        task: What the dataset calls the task where the episode has no `task_type`.
    """
    known = np.isfinite(labels.true_return)
    return Episode(
        episode_index=index,
        task_type=labels.task_type or task,
        environment_id=labels.environment_id,
        source=labels.source,
        robot=labels.robot,
        success=rows.success if labels.success is None else labels.success,
        true_return=labels.true_return if known else float(rows.rewards.sum()),
        quality=labels.quality,
        video=next((video for video in views.values() if video is not None), None),
        views=views,
        **rows.arrays(),
    )


def complete(episode: Episode, file: Path, dataset: Dataset, said: Labels | None, robot: str = "") -> Episode:
    """`episode` with the sidecar's word and the entry of robopref.toml.

    Args:
        file: The episode's first, which errors name.
        robot: What the dataset's metadata call the robot of all episodes.

    Raises:
        BadInput: the task is not given anywhere, or a text cannot be shown or stored.
    """
    said = said or Labels()
    task = said.task_type or dataset.task_type or episode.task_type
    if not task.strip():
        fix = "Set `task_type` of the dataset in robopref.toml."
        raise BadInput(file, "task_type", "the episode has no task", fix=fix)
    texts = {
        "task_type": " ".join(task.split()),
        "source": said.source or episode.source or dataset.source or "unknown",
        "environment_id": said.environment_id or episode.environment_id or dataset.environment_id,
        "robot": " ".join((said.robot or dataset.robot or episode.robot or robot).split()),
    }
    for name, value in texts.items():
        if value != printable(value):
            reason = f"expected at most {LONGEST_TEXT} characters that can be printed, found {printable(value)[:80]}"
            raise BadInput(file, name, reason)
    successes = (said.success, episode.success, dataset.success)
    return replace(
        episode,
        **texts,
        success=next((value for value in successes if value is not None), None),
        quality=said.quality if np.isfinite(said.quality) else episode.quality,
        true_return=said.true_return if np.isfinite(said.true_return) else episode.true_return,
    )


def read_sidecar(path: Path, episodes: Values[int, str]) -> dict[int, Labels]:
    """episode_index → what the CSV file says of it.

    Args:
        episodes: episode_index → name; a row may use either.

    Raises:
        DataError: naming the row and the column.
    """
    table = read_csv(path)
    header = list(table.columns)
    key = next((name for name in (KEY, "episode_index") if name in header), "")
    if not key:
        raise BadInput(path, KEY, f"the column is missing; found {', '.join(header) or 'an empty file'}")
    if not set(KNOWN) & set(header):
        raise BadInput(path, header[-1], f"expected one of {', '.join(KNOWN)} beside {key!r}")
    by_name = {name: index for index, name in episodes.items()}
    found: dict[int, Labels] = {}
    for number, row in enumerate(table.reindex(columns=[key, *KNOWN], fill_value="").to_dict("records"), start=2):
        cells = {str(name): str(cell).strip() for name, cell in row.items()}
        index = _index(cells[key], by_name, episodes)
        if index is None or index in found:
            said = "there is no such episode" if index is None else "the episode appears twice"
            raise BadInput(path, f"row {number}, {key}", f"{said}: {row[key]!r}")
        found[index] = _labels_of_row(cells, path, number)
    return found


def _index(name: str, by_name: Values[str, int], episodes: Values[int, str]) -> int | None:
    if name in by_name:
        return by_name[name]
    return int(name) if name.isdecimal() and int(name) in episodes else None


def _labels_of_row(cells: Values[str, str], path: Path, number: int) -> Labels:
    place = f"row {number}, "
    return Labels(
        source=cells["source"],
        success=truth(cells["success"] or None, place + "success", path),
        task_type=cells["task_type"],
        environment_id=cells["environment_id"],
        robot=cells["robot"],
        quality=real(cells["quality"] or None, place + "quality", path),
        true_return=real(cells["return"] or None, place + "return", path),
    )


def text(value: Any) -> str:
    """A text that may be missing; HDF5 gives bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def truth(value: Any, column: str, file: Path) -> bool | None:
    """A yes or no that may be missing.

    Raises:
        BadInput: it is neither a boolean, nor 0 or 1, nor a word for one of them.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    word = text(value).strip().lower()
    if word in YES or word in NO:
        return word in YES
    if isinstance(value, (int, float, np.number)) and float(value) in (0.0, 1.0):
        return bool(value)
    raise BadInput(file, column, f"expected true or false, found {value!r}")


def real(value: Any, column: str, file: Path) -> float:
    """A number that may be missing (nan).

    Raises:
        BadInput: it is not a number, or beyond `LARGEST`.
    """
    if value is None:
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(file, column, f"expected a number, found {value!r}") from None
    if abs(number) > LARGEST:
        raise BadInput(file, column, f"expected a number up to {LARGEST:g}, found {number:g}")
    return number
