"""What a clip shows: the primary camera, or all of them in a grid (`clips.cameras`).

An episode and its span come in, an ffmpeg stream of square pictures goes out, without overlay. Videos are inputs of
their own; frames from arrays and image files of all cameras lie side by side in one pipe, and each is cut out of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from importer.pool import Episode
from importer.pool.episode import BadInput, Images, Video, VideoSpan
from importer.pool.outside import MOST_PIXELS
from importer.pool.video import CONTAINERS, probe
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


def picture(episode: Episode, trajectory: Trajectory, clips: Clips, below: int) -> Any:
    """The trimmed span as square pictures at the clip's rate, with `below` pixels left black at the lower edge."""
    views = shown_views(episode, trajectory, clips)
    sources = _sources(views, episode, trajectory)
    cells = grid(len(views), _aspect(next(view for view in views.values() if view)), clips.size, clips.size - below)
    shown: Any = None
    for cell, name in zip(cells, views, strict=True):
        if name not in sources:
            continue
        source = sources[name].filter("fps", fps=clips.fps, start_time=0)
        wide, high = cell.width, cell.height
        width, height = f"2*trunc(min({wide},{high}*dar)/2)", f"2*trunc(min({high},{wide}/dar)/2)"
        source = source.filter("scale", w=width, h=height, flags="bicubic").filter("setsar", 1)
        if shown is None:
            left, top = f"{cell.x}+({wide}-iw)/2", f"{cell.y}+({high}-ih)/2"
            shown = source.filter("pad", clips.size, clips.size, left, top, color="black")
        else:
            place = {"x": f"{cell.x}+({wide}-w)/2", "y": f"{cell.y}+({high}-h)/2"}
            shown = shown.overlay(source, eof_action="repeat", **place)
    return shown


def grid(count: int, aspect: float, width: int, height: int) -> list[Cell]:
    """`count` equal cells, in as many columns as make a picture of that aspect (width / height) largest."""

    def shape(columns: int) -> tuple[int, int]:
        return width // columns, height // math.ceil(count / columns)

    columns = max(range(1, count + 1), key=lambda n: min(shape(n)[0] / aspect, shape(n)[1]))
    wide, high = shape(columns)
    return [Cell(n % columns * wide, n // columns * high, wide, high) for n in range(count)]


def _aspect(view: Video) -> float:
    size = probe(view.path, "video") if isinstance(view, VideoSpan) else view
    return size.width / size.height


def _sources(views: Mapping[str, Video | None], episode: Episode, trajectory: Trajectory) -> dict[str, Any]:
    """Camera → its span, from a video file or cut out of the pipe."""
    import ffmpeg

    images = piped(views)
    width, height = sum(image.width for image in images), max((image.height for image in images), default=0)
    raw = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "framerate": f"{episode.fps:.6f}"}
    pipe = ffmpeg.input("pipe:", **raw).video if images else None
    parts = pipe.filter_multi_output("split", len(images)) if pipe and len(images) > 1 else None
    sources, at, number = {}, 0, 0
    for name, view in views.items():
        if isinstance(view, VideoSpan):
            sources[name] = _video(view, episode, trajectory)
        elif view is not None:
            part = parts[number].filter("crop", view.width, view.height, at, 0) if parts else pipe
            sources[name], at, number = part, at + view.width, number + 1
    return sources


def _video(video: VideoSpan, episode: Episode, trajectory: Trajectory) -> Any:
    import ffmpeg

    # Half a frame early: the first frame is never lost to rounding, and the next episode's first one never taken
    start = max(0.0, video.start_s + trajectory.start_s - 0.5 / episode.fps)
    length = trajectory.end_s - trajectory.start_s
    span = {"ss": f"{start:.6f}", "t": f"{length:.6f}"}
    return ffmpeg.input(str(video.path), **CONTAINERS, **span, max_pixels=MOST_PIXELS, threads=1).video
