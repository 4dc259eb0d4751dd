"""Clean frames of a trajectory's trimmed span, for the reward model: no overlay, no freeze, no letterbox.

An `Episode` and a span come in; frames as they were recorded and the rows they belong to come out. The file is
decoded from the keyframe before the span to the span's end, one frame in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.pool.episode import BadInput, Episode, VideoSpan

if TYPE_CHECKING:
    from av import VideoFrame


def clean_frames(
    episode: Episode, start_s: float, end_s: float, sample_fps: float, max_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames at evenly spaced times of the span.

    Args:
        start_s, end_s: The span, in seconds from the episode's first frame.
        sample_fps: Frames per second to take.
        max_frames: At most so many; a longer span is sampled more thinly, never cut off.

    Returns:
        Frames (N, H, W, 3) uint8 RGB in order of time, and the rows (N,) int64 of the episode that they show.

    Raises:
        BadInput: the episode has no video, or the video ends before the span does.
    """
    if episode.video is None:
        raise BadInput(f"episode {episode.episode_index}", "video", "the dataset has no images")
    rows = sample_rows(episode.time, start_s, end_s, sample_fps, max_frames)
    if not isinstance(episode.video, VideoSpan):
        return np.stack(list(episode.video.frames(rows.tolist()))), rows
    path = episode.video.path
    times = episode.video.start_s + episode.time[rows]
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
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # the processes around this one keep the cores busy
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
