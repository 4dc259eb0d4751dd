"""What a video file really holds: the stream is asked, never the dataset's metadata.

A path comes in; the times of the frames that can be read go out. Nothing is decoded: the container's own index tells
where each frame lies in the file, so a file that was cut off is seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from importer.pool.episode import BadInput, VideoSpan

TOLERANCE_FRAMES = 2.5
"""Recorders drop or add a frame at the ends: real datasets differ by one or two, and nobody sees that."""


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
    """Look into `path`; `field` names it in errors. The answer is kept until the file changes.

    Raises:
        BadInput: the file is missing, is no video, or has no frame.
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
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadInput(path, field, "the file has no video stream")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 0)
            # copied at once: the entries are views into memory that goes with the container
            entries = np.array([(e.timestamp, e.pos + e.size) for e in stream.index_entries], dtype=np.int64)
            base = float(stream.time_base or 0)
            duration = float((stream.duration or 0) * base) or float(container.duration or 0) / 1e6
            shape = (stream.codec_context.codec.canonical_name, stream.codec_context.width, stream.codec_context.height)
    except FFmpegError as error:
        reason = f"cannot be opened as a video ({error.strerror}); it is cut off, or something else"
        raise BadInput(path, field, reason) from None
    if fps <= 0:
        raise BadInput(path, field, "the video stream has no frame rate")
    if not len(entries):  # formats without an index (mkv): the header's duration has to do
        return Probe(*shape, fps, round(duration * fps), np.arange(round(duration * fps)) / fps)
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
        cut = f" (cut off: {found.frames - len(found.times)} frames missing)" if len(found.times) < found.frames else ""
        reason = f"frames reach {found.end_s:.2f} s{cut}, but the episode is at {span.start_s:.2f}-{span.end_s:.2f} s"
        raise BadInput(span.path, field, reason)
