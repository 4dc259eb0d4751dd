"""One standardized video per trajectory, so that people compare behaviour and not video quality.

Trajectories come in; `clips/<trajectory_id>.mp4` go out. The only file that calls ffmpeg: the binary that
imageio-ffmpeg brings, one process per clip and a single pass.
How long each clip is, and why, is in `plan`.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from importer.clips.force_strip import LEFT, RIGHT, draw_strip, strip_height
from importer.clips.plan import Job
from importer.clips.views import aspect, grid, pipe_frames, piped, shown_views
from importer.pool import Episode
from importer.pool.episode import BadInput, Video, VideoSpan
from importer.pool.outside import MOST_PIXELS
from importer.pool.video import CONTAINERS
from preference.artifacts import replacing
from preference.config import Clips
from preference.records import Trajectory

PRESET = "veryfast"
"""`medium` took 2.4 times as long for the same real AV1 episode, and a pool has thousands."""
CLOSED, OPEN = "\N{BLACK CIRCLE} gripper closed", "\N{WHITE CIRCLE} gripper open"


def render(episode: Episode, job: Job, clips: Clips) -> None:
    """Write the clip to `job.path`; it exists only when it is complete.

    Raises:
        BadInput: the episode has no images, or ffmpeg cannot make a clip of them.
    """
    import ffmpeg
    import imageio_ffmpeg

    images = piped(shown_views(episode, job.trajectory, clips))
    with replacing(job.path) as temporary:
        stream = clip_stream(episode, job, clips, temporary)
        command = ffmpeg.compile(stream, cmd=imageio_ffmpeg.get_ffmpeg_exe(), overwrite_output=True)
        rows = shown_rows(episode, job.trajectory)
        code, message = _run(command, pipe_frames(images, rows.tolist()) if images else None)
        if "No space left on device" in message:
            raise OSError(28, "No space left on device")
        if code != 0 or not temporary.exists() or message:
            last = message.splitlines()[-1] if message else f"ffmpeg ended with {code}"
            path = episode.video.path if episode.video else job.trajectory.dataset
            raise BadInput(path, "video", f"ffmpeg cannot make a clip of it: {last}")


def _run(command: Sequence[Any], frames: Iterator[np.ndarray] | None) -> tuple[int, str]:
    """Exit code and messages of ffmpeg, fed `frames` one at a time; killed on any exception, Ctrl-C included."""
    with tempfile.TemporaryFile() as errors:
        source = subprocess.PIPE if frames else subprocess.DEVNULL
        with subprocess.Popen(command, stdin=source, stdout=subprocess.DEVNULL, stderr=errors) as process:
            try:
                if frames and process.stdin:
                    # a broken pipe: ffmpeg has ended, and its message says why
                    with suppress(BrokenPipeError):
                        for frame in frames:
                            process.stdin.write(frame.data)
                        process.stdin.close()
                process.wait()
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        return process.returncode, errors.read().decode(errors="replace").strip()


def shown_rows(episode: Episode, trajectory: Trajectory) -> np.ndarray:
    """(N,) the rows in the trimmed span."""
    inside = (episode.time >= trajectory.start_s - 0.5 / episode.fps) & (episode.time < trajectory.end_s)
    return np.flatnonzero(inside)


def clip_stream(episode: Episode, job: Job, clips: Clips, path: Path) -> Any:
    """The ffmpeg graph of one clip: cut, rate, letterbox, overlay, freeze, encode."""
    import ffmpeg

    size, strip = clips.size, strip_height(clips.size) if np.isfinite(job.full_force) else 0
    shown = _picture(episode, job.trajectory, clips, strip)
    if strip:
        shown = _with_strip(shown, episode, job, clips, path.with_name("force.png"))
    shown = overlay(shown, episode, job, size, strip)
    shown = shown.filter("tpad", stop=-1, stop_mode="clone").filter("format", "yuv420p")
    # Without B-frames and with a keyframe every second, seeking in a browser lands on the frame that was asked for;
    # with these two set, a longer look-ahead only costs time
    h264 = {"x264-params": f"keyint={clips.fps}:min-keyint={clips.fps}:scenecut=0:bframes=0:rc-lookahead=5"}
    reads_pipe = bool(piped(shown_views(episode, job.trajectory, clips)))
    return ffmpeg.output(
        shown,
        str(path),
        vcodec="libx264",
        preset=PRESET,
        crf=clips.crf,
        movflags="+faststart",
        threads=1,
        map_metadata=-1,
        fflags="+bitexact",
        loglevel="error",
        **{"frames:v": job.frames, "profile:v": "high", "flags:v": "+bitexact", **h264},
    ).global_args("-filter_complex_threads", "1", "-xerror", *([] if reads_pipe else ["-nostdin"]))


def _picture(episode: Episode, trajectory: Trajectory, clips: Clips, below: int) -> Any:
    """The trimmed span as square pictures at the clip's rate, with `below` pixels left black at the lower edge."""
    views = shown_views(episode, trajectory, clips)
    sources = _sources(views, episode, trajectory)
    cells = grid(len(views), aspect(next(view for view in views.values() if view)), clips.size, clips.size - below)
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


def _with_strip(picture: Any, episode: Episode, job: Job, clips: Clips, drawing: Path) -> Any:
    """The force strip at the bottom, and a white line that moves over it as time goes on."""
    import ffmpeg

    t = job.trajectory
    size, strip = clips.size, strip_height(clips.size)
    draw_strip(drawing, episode, t.start_s, t.end_s, job.full_force, size)
    still = ffmpeg.input(str(drawing), loop=1, framerate=clips.fps)
    line = ffmpeg.input(f"color=white:size=2x{2 * (strip // 4)}:rate={clips.fps}", f="lavfi")
    left, span = LEFT * size, (RIGHT - LEFT) * size
    place = f"{left:.0f}+{span:.0f}*min(t/{t.end_s - t.start_s:.3f},1)-1"
    picture = picture.overlay(still, x=0, y=size - strip, shortest=1)
    return picture.overlay(line, x=place, y=size - strip + strip // 4, shortest=1)


def overlay(picture: Any, episode: Episode, job: Job, size: int, below: int) -> Any:
    """Code, running time and gripper state, the last one `below` pixels above the clip's lower edge.

    Nothing here tells how good the trajectory is.
    """
    margin = max(4, size // 60)
    style = {
        "fontfile": font(),
        "fontsize": max(10, size // 27),
        "fontcolor": "white",
        "box": 1,
        "boxcolor": "black@0.55",
        "boxborderw": max(2, size // 120),
    }
    trajectory = job.trajectory
    if job.watermark:
        picture = picture.drawtext(text=job.watermark, x=margin, y=margin, escape_text=True, **style)
    tenths = "floor(t*10+0.01)"
    timer = f"%{{eif:floor({tenths}/10):d}}.%{{eif:mod({tenths},10):d}} s"
    picture = picture.drawtext(text=timer, x=f"w-tw-{margin}", y=margin, escape_text=False, **style)
    spans = closed_spans(episode, trajectory.start_s, trajectory.end_s)
    if spans is None:
        return picture
    closed = "+".join(f"between(t,{a:.3f},{b:.3f})" for a, b in spans) or "0"
    for text, when in ((CLOSED, closed), (OPEN, f"not({closed})")):
        picture = picture.drawtext(text=text, x=margin, y=f"h-th-{margin + below}", enable=when, **style)
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
    """DejaVu Sans as matplotlib ships it: the same on every machine, with no fonts installed."""
    spec = find_spec("matplotlib")  # importing it costs each worker a sixth of a second
    bundled = Path(spec.origin or "").parent / "mpl-data" if spec else Path()
    if not bundled.is_dir():
        import matplotlib

        bundled = Path(matplotlib.get_data_path())
    return str(bundled / "fonts" / "ttf" / "DejaVuSans.ttf")
