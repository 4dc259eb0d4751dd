"""Filmstrips of the contested pairs, from their clips: pairs and a folder go in, data addresses come out.

Both strips of a pair show the same moments, so that one can be read against the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from preference.artifacts import confined
from preference.errors import UserError
from preference.film_strip import film_strip
from preference.records import Pair
from preference.workspace import Workspace
from qc_reports.agreement.contested import CONTESTED_SHOWN, Contested, contested_pairs
from qc_reports.agreement.questions import marked
from qc_reports.answers import Answered

AROUND_S = 3.0
"""Seconds of a strip about a moment that people marked."""
PICTURES = 6
Strips = Mapping[str, tuple[str, str]]
"""Pair → the strips of a and of b; "" where there is no clip."""


def contested_strips(ws: Workspace, answers: Sequence[Answered], pairs: Sequence[Pair]) -> dict[str, tuple[str, str]]:
    """The strips of the pairs that a report shows, from the workspace's clips."""
    shown = contested_pairs(answers, pairs)[:CONTESTED_SHOWN]
    seconds = {t.trajectory_id: t.end_s - t.start_s for t in ws.store.trajectories()} if shown else {}
    judgments = ws.store.judgments() if shown else []
    return clip_strips(ws.clips, shown, seconds, {pair.pair_id: marked(judgments, pair.pair_id) for pair in shown})


def clip_strips(
    folder: Path,
    pairs: Iterable[Contested],
    seconds: Mapping[str, float],
    moments: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, tuple[str, str]]:
    """The strips of every pair that has a clip.

    Args:
        folder: Where `TRAJECTORY.mp4` lies.
        seconds: Trajectory → how long its clip moves, before it stands still; unknown = the whole clip is shown.
        moments: Pair → `A`, `B` → where people say that it went wrong: such a strip shows the seconds around it.
    """
    found = {}
    for pair in pairs:
        names = (pair.trajectory_a_id, pair.trajectory_b_id)
        longest = max(seconds.get(name, 0.0) for name in names)
        around = (moments or {}).get(pair.pair_id, {})
        strips = tuple(
            _strip(folder, name, longest, around.get(letter)) for letter, name in zip("AB", names, strict=True)
        )
        if any(strips):
            found[pair.pair_id] = (strips[0], strips[1])
    return found


def _strip(folder: Path, trajectory_id: str, seconds: float, around: float | None) -> str:
    """Empty where the clip is missing or cannot be decoded: a report is worth reading without pictures too."""
    try:
        path = confined(folder, f"{trajectory_id}.mp4")
        stamp = path.stat()
    except (OSError, UserError, ValueError):
        return ""
    return _cached_strip(path, stamp.st_mtime_ns, stamp.st_size, round(seconds, 2), around)


@lru_cache(maxsize=512)
def _cached_strip(path: Path, _mtime_ns: int, _size: int, seconds: float, around: float | None) -> str:
    from av.error import FFmpegError

    try:
        return film_strip(_frames(path, seconds, around))
    except (FFmpegError, IndexError, ValueError):
        return ""


def _frames(path: Path, seconds: float, around: float | None) -> list[np.ndarray]:
    """PICTURES frames, (H, W, 3) uint8, evenly over the first `seconds`, or over all where that is 0; or over the
    `AROUND_S` about a moment."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        length = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        last = min(seconds, length) if seconds and length else seconds or length
        first, last = (0.0, last) if around is None else (around - AROUND_S / 2, around + AROUND_S / 2)
        first, last = max(0.0, min(first, length - AROUND_S)), max(0.0, min(last, length or last) - 0.05)
        wanted = list(np.linspace(first, last, PICTURES))
        frames: list[np.ndarray] = []
        for frame in container.decode(stream):
            while wanted and (frame.time or 0.0) >= wanted[0] - 1e-6:
                frames.append(frame.to_ndarray(format="rgb24"))
                wanted.pop(0)
            if not wanted:
                break
        return frames
