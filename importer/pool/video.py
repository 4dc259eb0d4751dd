"""What a video file really holds: the stream is asked, never the dataset's metadata.

A path comes in; the times of the frames that can be read go out. Nothing is decoded: the container's own index tells
where each frame lies in the file, so a file that was cut off is seen at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.pool.episode import BadInput, Episode, Video, VideoSpan
from importer.pool.outside import MOST_PIXELS, MOST_ROWS, check_pixels, guarded

if TYPE_CHECKING:
    from av import VideoFrame

TOLERANCE_FRAMES = 2.5
"""Recorders drop or add a frame at the ends: real datasets are off by one or two, which is invisible."""


CONTAINERS = {"format_whitelist": "mov,matroska,avi", "protocol_whitelist": "file,pipe"}
"""FFmpeg goes by the content, whatever a file is called: playlists and scripts name other files, which it then opens.
`mov` includes mp4, `matroska` webm."""


@dataclass(frozen=True)
class Probe:
    """One video file. `times`: (N,) float64, seconds from the first frame, of the frames whose bytes are there."""

    codec: str
    width: int
    height: int
    fps: float
    frames: int
    """Frames that the index lists, whether their bytes are there or not."""
    times: np.ndarray

    @property
    def end_s(self) -> float:
        return float(self.times[-1]) + 1.0 / self.fps if len(self.times) else 0.0


def probe(path: Path, field: str) -> Probe:
    """Look into `path`; `field` names it in errors. The result is cached until the file changes.

    Raises:
        BadInput: the file is missing, is not a video, or has no frames.
    """
    try:
        stat = path.stat()
    except OSError:
        raise BadInput(path, field, "the video is missing") from None
    return _probe(path, field, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _probe(path: Path, field: str, size: int, _mtime_ns: int) -> Probe:
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), options=CONTAINERS) as container:
            if not container.streams.video:
                raise BadInput(path, field, "the file has no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise BadInput(path, field, "the codec of its video stream is unknown")
            fps = float(stream.average_rate or 0)
            # copied at once: the entries are views into memory that goes with the container
            entries = np.array([(e.timestamp, e.pos + e.size) for e in stream.index_entries], dtype=np.int64)
            base = float(stream.time_base or 0)
            duration = float((stream.duration or 0) * base) or float(container.duration or 0) / 1e6
            shape = (stream.codec_context.codec.canonical_name, stream.codec_context.width, stream.codec_context.height)
    except FFmpegError as error:
        reason = f"cannot be opened as a video ({error.strerror}); it is truncated or not a video"
        raise BadInput(path, field, reason) from None
    check_pixels(*shape[1:], path, field)
    if fps <= 0:
        raise BadInput(path, field, "the video stream has no frame rate")
    if not len(entries):  # formats without an index (mkv): only the header's duration is known
        frames = round(duration * fps)
        if frames > MOST_ROWS:
            raise BadInput(path, field, f"expected at most {MOST_ROWS:,} frames, found {frames:,}")
        return Probe(*shape, fps, frames, np.arange(frames) / fps)
    broken = np.flatnonzero(entries[:, 1] > size)
    times = (entries[:, 0] - entries[0, 0]) * base
    return Probe(*shape, fps, len(entries), times[: broken[0]] if len(broken) else times)


def check_span(span: VideoSpan, field: str) -> None:
    """The frames of `span` are there.

    Raises:
        BadInput: the file ends, or is cut off, before the span does.
    """
    found = probe(span.path, field)
    if span.start_s < 0 or found.end_s < span.end_s - TOLERANCE_FRAMES / found.fps:
        cut = (
            f" (truncated: {found.frames - len(found.times)} frames missing)" if len(found.times) < found.frames else ""
        )
        reason = f"frames reach {found.end_s:.2f} s{cut}, but the episode is at {span.start_s:.2f}-{span.end_s:.2f} s"
        raise BadInput(span.path, field, reason)


def clean_frames(
    episode: Episode, start_s: float, end_s: float, sample_fps: float, max_frames: int, video: Video | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Frames at evenly spaced times of the span.

    Args:
        video: One of the episode's views; default: the primary camera.
        start_s, end_s: The span, in seconds from the episode's first frame.
        sample_fps: Frames per second to take.
        max_frames: At most so many; a longer span is sampled more thinly, never cut off.

    Returns:
        Frames (N, H, W, 3) uint8 RGB in order of time, and the rows (N,) int64 of the episode that they show.

    Raises:
        BadInput: the episode has no video, or the video ends before the span does.
    """
    video = video or episode.video
    if video is None:
        raise BadInput(f"episode {episode.episode_index}", "video", "the dataset has no images")
    rows = sample_rows(episode.time, start_s, end_s, sample_fps, max_frames)
    path = video.path
    with guarded(path):
        if not isinstance(video, VideoSpan):
            return np.stack(list(video.frames(rows.tolist()))), rows
        times = video.start_s + episode.time[rows]
        frames = [frame.to_ndarray(format="rgb24") for frame in _nearest(_decode(path, times[0]), times)]
        if len(frames) < len(rows):
            reason = f"the video ends before {times[len(frames)]:.2f} s, which is inside the episode"
            raise BadInput(path, "video", reason)
        return np.stack(frames), rows


def sample_rows(time: np.ndarray, start_s: float, end_s: float, sample_fps: float, max_frames: int) -> np.ndarray:
    """(N,) int64: the rows nearest to evenly spaced times in [start_s, end_s], each at most once."""
    last = min(end_s, float(time[-1]))
    length = max(0.0, last - start_s)
    count = math.floor(length * sample_fps + 1e-9) + 1
    times = start_s + np.arange(count) / sample_fps
    if count > max_frames:
        times = np.linspace(start_s, last, max_frames)
    right = np.clip(np.searchsorted(time, times), 1, max(1, len(time) - 1))
    if len(time) == 1:
        return np.zeros(1, dtype=np.int64)
    nearer_left = times - time[right - 1] <= time[right] - times
    return np.unique(np.where(nearer_left, right - 1, right)).astype(np.int64)


def _decode(path: Path, start_s: float) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their times, in seconds from the start of the file, from before `start_s` on."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), options=CONTAINERS) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # other processes keep the cores busy
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            zero = (container.start_time or 0) / 1e6
            base = float(stream.time_base or 0)
            # half a second early: where a stream's index is off by a frame or two the right keyframe is still found
            container.seek(int(max(0.0, start_s + zero - 0.5) / base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts is not None:
                    yield frame.pts * base - zero, frame
    except (FFmpegError, IndexError) as error:
        raise BadInput(path, "video", f"cannot be decoded: {error}") from None


def _nearest(frames: Iterator[tuple[float, VideoFrame]], times: np.ndarray) -> Iterator[VideoFrame]:
    """For each of the ascending `times` the frame nearest to it; fewer where the frames end long before."""
    wanted = iter(times)
    target = next(wanted)
    before: tuple[float, VideoFrame] | None = None
    gap = 0.0
    for moment, frame in frames:
        gap = moment - before[0] if before else gap
        while moment >= target:
            closer = before if before and target - before[0] < moment - target else (moment, frame)
            yield closer[1]
            following = next(wanted, None)
            if following is None:
                return
            target = following
        before = (moment, frame)
    # Past the last frame: recorders drop one or two at the end
    while before and target is not None and target - before[0] <= 2.5 * gap:
        yield before[1]
        target = next(wanted, None)
