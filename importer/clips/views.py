"""What a clip shows: the primary camera, or all of them in a grid (`clips.cameras`).

An episode comes in; the cameras to show, their places, and the frames of those that are no videos go out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from importer.pool import Episode
from importer.pool.episode import BadInput, Images, Video, VideoSpan
from importer.pool.video import probe
from preference.config import Clips
from preference.records import Trajectory


@dataclass(frozen=True)
class Cell:
    """Where a picture goes, in pixels of the clip."""

    x: int
    y: int
    width: int
    height: int


def shown_views(episode: Episode, trajectory: Trajectory, clips: Clips) -> dict[str, Video | None]:
    """The cameras that the clip shows; None where a cell of the grid stays empty.

    Raises:
        BadInput: the episode has no images.
    """
    if episode.video is None:
        raise BadInput(trajectory.dataset, "video", "the dataset has no images")
    grid = clips.cameras == "grid" and len(episode.views) > 1
    return dict(episode.views) if grid else {"": episode.video}


def piped(views: Mapping[str, Video | None]) -> list[Images]:
    """Those that come through the pipe, in their order in it."""
    return [view for view in views.values() if view is not None and not isinstance(view, VideoSpan)]


def pipe_frames(images: Sequence[Images], rows: Sequence[int]) -> Iterator[np.ndarray]:
    """For each row one (H, W, 3) uint8 picture, with the cameras' frames from left to right."""
    if len(images) == 1:
        yield from images[0].frames(rows)
        return
    height = max(image.height for image in images)
    for frames in zip(*(image.frames(rows) for image in images), strict=True):
        padded = [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0))) for frame in frames]
        yield np.concatenate(padded, axis=1)


def grid(count: int, aspect: float, width: int, height: int) -> list[Cell]:
    """`count` equal cells, in as many columns as make a picture of that aspect (width / height) largest."""

    def shape(columns: int) -> tuple[int, int]:
        return width // columns, height // math.ceil(count / columns)

    columns = max(range(1, count + 1), key=lambda n: min(shape(n)[0] / aspect, shape(n)[1]))
    wide, high = shape(columns)
    return [Cell(n % columns * wide, n // columns * high, wide, high) for n in range(count)]


def aspect(view: Video) -> float:
    """Width / height."""
    size = probe(view.path, "video") if isinstance(view, VideoSpan) else view
    return size.width / size.height
