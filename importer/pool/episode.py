"""One episode as its reader hands it over, whatever the format on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from preference.errors import DataError


class BadInput(DataError):
    """A DataError that knows its parts, so that failures.csv can have a column for each."""

    def __init__(self, file: Path | str, field: str, reason: str, *, fix: str = "") -> None:
        place = f"{file}, {field}" if field else str(file)
        super().__init__(f"{place}: {reason}", fix=fix)
        self.file, self.field, self.reason = str(file), field, reason
        self.args = (self.file, field, reason)  # what pickle builds it from on its way out of a worker process


class NoView(BadInput):
    """The episode has nothing of a camera. With another one it can still be used, unlike one whose video is broken."""


@dataclass(frozen=True)
class VideoSpan:
    """A time range of a video file: LeRobot v3.0 keeps many episodes in one mp4."""

    path: Path
    start_s: float
    end_s: float


class Images(Protocol):
    """Frames outside a video: an array in a file, or image files. One frame for each row of the episode."""

    @property
    def path(self) -> Path:
        """What errors name."""
        ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def frames(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """The (H, W, 3) uint8 RGB frames of ascending `rows`, a few in memory at a time.

        Raises:
            BadInput: a frame is missing, broken, or holds values out of range.
        """
        ...


Video = VideoSpan | Images


@dataclass(frozen=True)
class Episode:
    """The arrays of one episode. T rows, T ≥ 1, in step with the video's frames.

    A reader fills in what the data themselves say; robopref.toml and its sidecar file complete the labels.
    """

    episode_index: int
    task_type: str
    environment_id: str
    source: str
    """Empty where the data do not say."""
    robot: str
    """Its type; empty where the data do not say."""
    success: bool | None
    true_return: float
    """Simulator's return over the whole episode; nan where there is none."""
    quality: float
    """The user's own ground-truth quality; nan where there is none."""
    fps: float
    time: np.ndarray
    """(T,) float64, seconds from the first frame."""
    actions: np.ndarray
    """(T, A) float32."""
    state: np.ndarray
    """(T, S) float32; S may be 0."""
    gripper: np.ndarray
    """(T,) float32 in [0, 1], 1 = closed; all nan where there is none."""
    effector: np.ndarray
    """(T, 3) float64, position of the end effector; all nan where there is none."""
    force: np.ndarray
    """(T,) float32, N, magnitude of the contact force; all nan where there is none."""
    success_rows: np.ndarray
    """(T,) bool: the rows at which the task counts as done; all False where unknown."""
    rewards: np.ndarray
    """(T,) float32, the simulator's reward; all nan where there is none. For simulated annotators and validation."""
    video: Video | None
    """The primary camera, or the first that the episode has; None for datasets without images."""
    views: Mapping[str, Video | None] = field(default_factory=dict)
    """Every camera that `columns.camera` names, the primary one first; None where the episode lacks it."""

    @property
    def length_s(self) -> float:
        """Seconds until the last frame has been shown."""
        return float(self.time[-1]) + 1.0 / self.fps


def views_of(cameras: Sequence[str], look: Callable[[str], Video]) -> dict[str, Video | None]:
    """What an episode has of each of its `cameras`.

    Args:
        look: Camera → its pictures; NoView where there are none.

    Raises:
        BadInput: it has none of them, or one is broken.
    """
    found: dict[str, Video | None] = {}
    missing: NoView | None = None
    for camera in cameras:
        try:
            found[camera] = look(camera)
        except NoView as error:
            found[camera], missing = None, missing or error
    if missing and not any(found.values()):
        raise missing
    return found
