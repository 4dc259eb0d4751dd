"""How much a dataset holds, and what it lacks for good pairs: for `robopref init`.

A dataset comes in; an `Overview` goes out, counted over at most `LOOKED_AT` episodes that lie evenly in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from importer.pool.dataset import open_dataset
from importer.pool.episode import BadInput
from preference.config import Dataset
from preference.errors import UserError
from preference.work import HERE, parallel_map

LOOKED_AT = 500
"""Episodes: a few seconds of reading."""
ENOUGH = 500
"""Trajectories of a pool."""
RANKED = 4
"""Of a task type, below which none is ranked (`quality.quartiles`)."""
WRIST = ("wrist", "in_hand", "hand_eye", "gripper")
"""Parts of the names of cameras that move with the hand."""


@dataclass(frozen=True)
class Overview:
    """What the dataset has. The counts are over the `read` episodes."""

    episodes: int
    read: int
    unreadable: int
    first_error: str
    cameras: list[str]
    robot: str
    """Empty where the metadata do not name it."""
    tasks: dict[str, int]
    sources: dict[str, int]
    success: dict[str, int]
    """`succeeded`, `failed`, `unknown`."""
    missing: list[str]
    """What good pairs need and the dataset lacks, a sentence each."""


@dataclass(frozen=True)
class _Read:
    """Reads one episode, without its frames; picklable."""

    dataset: Dataset

    def __call__(self, index: int) -> tuple[str, str, bool | None]:
        episode = open_dataset(self.dataset).read(index)
        return episode.task_type, episode.source, episode.success


def overview(dataset: Dataset) -> Overview:
    """Read what is said of the episodes.

    Raises:
        BadInput: the dataset cannot be opened, none of its episodes can be read, or there is nothing to see in it.
    """
    opened = open_dataset(dataset)
    schema = opened.reader.schema
    if not schema.cameras:
        fix = "Annotators compare clips, so the dataset needs a video or images for each episode."
        raise BadInput(dataset.path, "camera", "there is nothing to see in this dataset", fix=fix)
    indices = sorted(opened.episodes)
    places = np.unique(np.linspace(0, len(indices) - 1, min(len(indices), LOOKED_AT)).round().astype(int))
    found: list[tuple[str, str, bool | None]] = []
    errors: list[str] = []
    looked = [indices[place] for place in places]
    for _, result in parallel_map(_Read(dataset), looked, workers=HERE, description="Looking at the episodes"):
        if isinstance(result, UserError):
            errors.append(str(result))
        else:
            found.append(result)
    if not found:
        raise BadInput(dataset.path, "", f"no episode can be read; the first: {errors[0]}")
    tasks, sources, successes = (Counter(column) for column in zip(*found, strict=True))
    words = {True: "succeeded", False: "failed", None: "unknown"}
    success = {word: successes[value] for value, word in words.items() if successes[value]}
    return Overview(
        episodes=len(indices),
        read=len(found),
        unreadable=len(errors),
        first_error=errors[0] if errors else "",
        cameras=schema.cameras,
        robot=schema.robot,
        tasks=dict(tasks.most_common()),
        sources=dict(sources.most_common()),
        success=success,
        missing=[
            *_unranked(tasks if len(looked) == len(indices) else {}),
            *_missing(len(indices) if len(looked) < len(indices) else len(found), schema.cameras, sources, success),
        ],
    )


def _unranked(tasks: Mapping[str, int]) -> list[str]:
    few = [f"{name!r} ({count})" for name, count in tasks.items() if count < RANKED]
    if not few:
        return []
    return [f"Nothing can be asked about task types with fewer than {RANKED} readable episodes: {', '.join(few)}."]


def _missing(
    episodes: int, cameras: Sequence[str], sources: Mapping[str, int], success: Mapping[str, int]
) -> list[str]:
    said = []
    if success.get("unknown"):
        whose = "No episode says" if len(success) == 1 else f"{success['unknown']} episodes do not say"
        said.append(
            f"{whose} whether it succeeded, so quality is judged by motion alone: name a column in columns.success, "
            "or list the episodes in a CSV file and name it in sidecar."
        )
    known = [name for name in sources if name != "unknown"]
    if not known:
        said.append(
            "Nothing says who made the episodes: set source (expert, novice, scripted, policy_checkpoint_3 …); the "
            "expert tier is chosen from demonstrations only."
        )
    elif len(sources) == 1:
        pool = "An expert-only pool" if known == ["expert"] else f"A pool of {known[0]!r} alone"
        said.append(
            f"{pool} gives pairs that are hard to judge: add episodes from others (novices, policy checkpoints, "
            "scripted or random ones), as another [[pool.dataset]]."
        )
    if episodes < ENOUGH:
        said.append(f"There are only {episodes} readable episodes; {ENOUGH} or more give enough different pairs.")
    if all(is_wrist(camera) for camera in cameras):
        said.append(f"The only view is from the wrist ({', '.join(cameras)}): people see little of the task in it.")
    return said


def is_wrist(camera: str) -> bool:
    """Whether the name of a camera says that it moves with the hand."""
    return any(word in camera.lower() for word in WRIST)
