"""One standardized video per trajectory, so that people compare behaviour and not video quality.

Trajectories come in; `clips/<trajectory_id>.mp4` go out. The only file that calls ffmpeg: the binary that
imageio-ffmpeg brings, one process per clip and a single pass.

Equal length: Label Studio pauses both players when the shorter clip ends, so the last frame of every clip stands
until the longest one of its task type has ended. Any two clips of a task type can then be paired, today or in an
active round, without rendering again.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np

from importer.clip_index import ClipIndex, Entry, content_key
from importer.pool import Episode, Failure, Reader, failure_of, find_dataset, open_reader, read_episode
from importer.pool.episode import BadInput
from preference.config import Clips, Pool
from preference.errors import UserError
from preference.records import Trajectory
from preference.work import parallel_map
from preference.workspace import replacing

RECIPE = 1
"""Part of every clip's key: raise it when the filter chain changes, so that old clips are rendered again."""
PRESET = "veryfast"
"""`medium` took 2.4 times as long for the same real AV1 episode, and a pool has thousands."""
CLOSED, OPEN = "\N{BLACK CIRCLE} gripper closed", "\N{WHITE CIRCLE} gripper open"


@dataclass(frozen=True)
class ClipsResult:
    """What a run did."""

    rendered: int
    kept: int
    failures: list[Failure]
    clips: dict[str, Entry]
    """trajectory_id → its finished clip."""


@dataclass(frozen=True)
class Job:
    """One clip to render, as it travels to a worker process."""

    trajectory: Trajectory
    frames: int
    """Length of the clip in its own frames, with the freeze and the wait for longer ones."""
    path: Path
    key: str


@dataclass(frozen=True)
class _Render:
    """`render` with its settings, picklable."""

    pool: Pool
    clips: Clips

    def __call__(self, job: Job) -> Entry:
        with _ended_by_signal():
            episode = read_episode(self.pool, job.trajectory)
            render(episode, job.trajectory, self.clips, job.frames, job.path)
        return Entry.of(job.trajectory.trajectory_id, job.key, job.path)


def render_clips(
    trajectories: Sequence[Trajectory], pool: Pool, clips: Clips, folder: Path, workers: int = 0
) -> ClipsResult:
    """Render the clips that are missing or were made with other settings; finished ones are kept.

    Args:
        folder: Where the clips are kept.
        workers: Processes; 0 = one per core.
    """
    index = ClipIndex(folder)
    jobs, failures = plan(trajectories, pool, clips, folder)
    missing = [job for job in jobs if not index.has(job.trajectory.trajectory_id, job.key)]
    broken: set[str] = set()
    for job, result in parallel_map(_Render(pool, clips), missing, workers=workers, description="Rendering clips"):
        if isinstance(result, UserError):
            broken.add(job.trajectory.trajectory_id)
            failures.append(failure_of(job.trajectory.dataset, job.trajectory.episode_index, result))
        else:
            index.add(result)
    failures.sort(key=lambda f: (f.dataset, f.episode_index or 0))
    ids = [job.trajectory.trajectory_id for job in jobs if job.trajectory.trajectory_id not in broken]
    return ClipsResult(
        rendered=len(missing) - len(broken),
        kept=len(jobs) - len(missing),
        failures=failures,
        clips={trajectory_id: index.entries[trajectory_id] for trajectory_id in ids},
    )


def plan(trajectories: Sequence[Trajectory], pool: Pool, clips: Clips, folder: Path) -> tuple[list[Job], list[Failure]]:
    """What each clip has to be: its length and the key of everything that its picture depends on."""
    longest: dict[str, int] = {}
    for t in trajectories:
        longest[t.task_type] = max(longest.get(t.task_type, 0), moving_frames(t, clips))
    jobs: list[Job] = []
    failures: list[Failure] = []
    readers: dict[str, Reader] = {}
    for t in trajectories:
        frames = longest[t.task_type] + round(clips.freeze_s * clips.fps)
        try:
            if t.dataset not in readers:
                readers[t.dataset] = open_reader(find_dataset(pool, t))
            files = readers[t.dataset].files(t.episode_index)
            span = (t.trajectory_id, t.start_s, t.end_s, t.num_frames, frames)
            key = content_key(files, RECIPE, clips.model_dump(), span)
        except UserError as error:
            failures.append(failure_of(t.dataset, t.episode_index, error))
        else:
            jobs.append(Job(t, frames, folder / f"{t.trajectory_id}.mp4", key))
    return jobs, failures


def moving_frames(trajectory: Trajectory, clips: Clips) -> int:
    """Frames of the clip before its last one stands."""
    return max(1, math.ceil((trajectory.end_s - trajectory.start_s) * clips.fps - 1e-6))


def render(episode: Episode, trajectory: Trajectory, clips: Clips, frames: int, path: Path) -> None:
    """Write the clip of `trajectory` to `path`, `frames` long; it exists only when it is complete.

    Raises:
        BadInput: the episode has no images, or ffmpeg cannot make a clip of them.
    """
    import ffmpeg
    import imageio_ffmpeg

    if episode.video is None:
        raise BadInput(trajectory.dataset, "video", "the dataset has no images")
    with replacing(path) as temporary:
        stream = clip_stream(episode, trajectory, clips, frames, temporary)
        command = ffmpeg.compile(stream, cmd=imageio_ffmpeg.get_ffmpeg_exe(), overwrite_output=True)
        # run() ends the process on any exception, and so on Ctrl-C
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        message = done.stderr.decode(errors="replace").strip()
        if "No space left on device" in message:
            raise OSError(28, "No space left on device")
        if done.returncode != 0 or not temporary.exists() or message:
            last = message.splitlines()[-1] if message else f"ffmpeg ended with {done.returncode}"
            raise BadInput(episode.video.path, "video", f"ffmpeg cannot make a clip of it: {last}")


def clip_stream(episode: Episode, trajectory: Trajectory, clips: Clips, frames: int, path: Path) -> Any:
    """The ffmpeg graph of one clip: cut, rate, letterbox, overlay, freeze, encode."""
    import ffmpeg

    video = episode.video
    if video is None:
        raise BadInput(trajectory.dataset, "video", "the dataset has no images")
    # Half a frame early: the first frame is never lost to rounding, and the next episode's first one never taken
    start = max(0.0, video.start_s + trajectory.start_s - 0.5 / episode.fps)
    length = trajectory.end_s - trajectory.start_s
    picture = ffmpeg.input(str(video.path), ss=f"{start:.6f}", t=f"{length:.6f}", threads=1).video
    picture = picture.filter("fps", fps=clips.fps, start_time=0)
    size = clips.size
    width, height = f"2*trunc(min({size},{size}*dar)/2)", f"2*trunc(min({size},{size}/dar)/2)"
    picture = picture.filter("scale", w=width, h=height, flags="bicubic").filter("setsar", 1)
    picture = picture.filter("pad", size, size, "(ow-iw)/2", "(oh-ih)/2", color="black")
    picture = overlay(picture, episode, trajectory, size)
    picture = picture.filter("tpad", stop=-1, stop_mode="clone").filter("format", "yuv420p")
    # Without B-frames and with a keyframe every second, seeking in a browser lands on the frame that was asked for
    h264 = {"x264-params": f"keyint={clips.fps}:min-keyint={clips.fps}:scenecut=0:bframes=0"}
    return ffmpeg.output(
        picture,
        str(path),
        vcodec="libx264",
        preset=PRESET,
        crf=clips.crf,
        movflags="+faststart",
        threads=1,
        map_metadata=-1,
        fflags="+bitexact",
        loglevel="error",
        **{"frames:v": frames, "profile:v": "high", "flags:v": "+bitexact", **h264},
    ).global_args("-filter_complex_threads", "1", "-xerror", "-nostdin")


def overlay(picture: Any, episode: Episode, trajectory: Trajectory, size: int) -> Any:
    """Id, running time and gripper state; nothing here tells how good the trajectory is."""
    margin = max(4, size // 60)
    style = {
        "fontfile": font(),
        "fontsize": max(10, size // 27),
        "fontcolor": "white",
        "box": 1,
        "boxcolor": "black@0.55",
        "boxborderw": max(2, size // 120),
    }
    picture = picture.drawtext(text=trajectory.trajectory_id, x=margin, y=margin, escape_text=True, **style)
    tenths = "floor(t*10+0.01)"
    timer = f"%{{eif:floor({tenths}/10):d}}.%{{eif:mod({tenths},10):d}} s"
    picture = picture.drawtext(text=timer, x=f"w-tw-{margin}", y=margin, escape_text=False, **style)
    spans = closed_spans(episode, trajectory.start_s, trajectory.end_s)
    if spans is None:
        return picture
    closed = "+".join(f"between(t,{a:.3f},{b:.3f})" for a, b in spans) or "0"
    for text, when in ((CLOSED, closed), (OPEN, f"not({closed})")):
        picture = picture.drawtext(text=text, x=margin, y=f"h-th-{margin}", enable=when, **style)
    return picture


def closed_spans(episode: Episode, start_s: float, end_s: float) -> list[tuple[float, float]] | None:
    """When the gripper is closed, in seconds from `start_s`; None where the episode has no gripper."""
    if not np.isfinite(episode.gripper).all():
        return None
    inside = (episode.time >= start_s - 0.5 / episode.fps) & (episode.time < end_s)
    closed = np.concatenate([[False], episode.gripper[inside] > 0.5, [False]])
    edges = np.flatnonzero(closed[1:] != closed[:-1])
    moments = [*(episode.time[inside] - start_s), end_s - start_s]
    # up to just before the next row; the last span lasts through the freeze
    ends = [*(moment - 1e-3 for moment in moments[:-1]), 1e6]
    return [(float(moments[a]), float(ends[b])) for a, b in edges.reshape(-1, 2)]


def font() -> str:
    """DejaVu Sans as matplotlib ships it: the same letters on every machine, and none needs fonts installed."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """In a worker process: being terminated ends ffmpeg and removes half a clip before the process goes."""
    if parent_process() is None:
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except SystemExit:
        os._exit(143)  # a pool's worker takes an exception for a result and would go on to its next item
    finally:
        signal.signal(signal.SIGTERM, before)
