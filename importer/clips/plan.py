"""How each clip is to be rendered: its length, its scale of forces, and a key of everything its picture depends on.

A clip is as long as its span and the freeze: on the screen the plugin holds the shorter clip's last frame while the
longer one plays on. Label Studio alone pauses both players when the shorter one ends; for such servers
`clips.equal_length` holds every last frame until the longest clip of the task type has ended. The scale of forces is
one per task type, so that any two of its clips can be paired, today or in an active round, without rendering again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from importer.clips.index import content_key
from importer.clips.watermark import watermark_of
from importer.pool import Failure, failure_of, files_of, find_dataset, shown_camera
from preference.config import Clips, Pool
from preference.errors import UserError
from preference.records import Trajectory

RECIPE = 2
"""Part of every clip's key: raise it when the filter chain changes, so that old clips are rendered again."""


@dataclass(frozen=True)
class Job:
    """One clip to render, as it travels to a worker process."""

    trajectory: Trajectory
    frames: int
    """Length of the clip in its own frames, the freeze included."""
    full_force: float
    """N at the end of the force strip's scale; nan = no strip."""
    path: Path
    key: str
    watermark: str
    """What its corner shows; empty = nothing."""


def plan(
    trajectories: Sequence[Trajectory], pool: Pool, clips: Clips, folder: Path, salt: int
) -> tuple[list[Job], list[Failure]]:
    """A job for each trajectory whose files can be named; `salt` as in `Workspace`."""
    longest: dict[str, int] = {}
    strongest: dict[str, float] = {}
    for t in trajectories:
        longest[t.task_type] = max(longest.get(t.task_type, 0), moving_frames(t, clips))
        if math.isfinite(t.peak_force):
            strongest[t.task_type] = max(strongest.get(t.task_type, 0.0), t.peak_force)
    jobs: list[Job] = []
    failures: list[Failure] = []
    for t in trajectories:
        moving = longest[t.task_type] if clips.equal_length else moving_frames(t, clips)
        frames = moving + round(clips.freeze_s * clips.fps)
        watermark = watermark_of(t.trajectory_id, clips, salt)
        force = rounded_up(strongest[t.task_type]) if t.task_type in strongest else math.nan
        try:
            span = (t.trajectory_id, t.start_s, t.end_s, t.num_frames, frames, force)
            columns = find_dataset(pool, t).columns.model_dump(exclude={"robot"})
            settings = clips.model_dump(exclude={"equal_length", "cameras"})
            grid = clips.cameras == "grid" and isinstance(columns["camera"], list)
            camera, first = shown_camera(pool, t)
            if not grid:  # what is not shown renders nothing again
                columns["camera"] = "" if first else camera
            files = files_of(pool, t, None if grid else [camera] if camera else [])
            key = content_key(files, RECIPE, settings, watermark, span, columns, *([clips.cameras] if grid else []))
        except UserError as error:
            failures.append(failure_of(t.dataset, t.episode_index, error))
        else:
            jobs.append(Job(t, frames, force, folder / f"{t.trajectory_id}.mp4", key, watermark))
    return jobs, failures


def moving_frames(trajectory: Trajectory, clips: Clips) -> int:
    """Frames of the clip before its last one is held."""
    return max(1, math.ceil((trajectory.end_s - trajectory.start_s) * clips.fps - 1e-6))


def rounded_up(force: float) -> float:
    """The next 1, 2 or 5 times a power of ten: one stronger episode seldom changes every clip."""
    if force <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(force))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= force * (1 - 1e-9))
