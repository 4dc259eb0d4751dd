"""The clips of a pool: those that are missing or outdated are rendered, finished ones are kept.

`build_clips` is the stage: the pool of a workspace in, `clips/<trajectory_id>.mp4` and their checksums in the rows out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from operator import attrgetter
from pathlib import Path

from importer.clips.index import ClipIndex, Entry
from importer.clips.plan import Job, plan
from importer.clips.render import render
from importer.pool.build import check_paths
from importer.pool.dataset import files_read, read_episode
from importer.pool.manifest import Failure, failure_of, write_failures, write_manifest
from preference.config import Clips, Pool
from preference.errors import NotReady, UserError
from preference.records import Trajectory
from preference.work import Workers, parallel_map
from preference.workspace import Workspace


@dataclass(frozen=True)
class ClipsResult:
    """What a run rendered and kept."""

    rendered: int
    kept: int
    failures: list[Failure]
    clips: dict[str, Entry]
    """trajectory_id → its finished clip."""


@dataclass(frozen=True)
class _Render:
    """`render` with its settings, picklable."""

    pool: Pool
    clips: Clips

    def __call__(self, job: Job) -> Entry:
        with _ended_by_signal():
            episode = read_episode(self.pool, job.trajectory)
            render(episode, job, self.clips)
        return Entry.of(job.trajectory.trajectory_id, job.key, job.path)


def build_clips(ws: Workspace) -> ClipsResult:
    """Render the clips that are missing or outdated; write them into the manifest and the rows.

    Raises:
        NotReady: there is no pool yet.
        ConfigError: a dataset does not exist, such as one on a disk that is not mounted: its clips stay as they are.
    """
    trajectories = [t for t in ws.store.trajectories() if t.in_pool]
    if not trajectories:
        raise NotReady("There is no pool yet.", fix="Run `robopref pool` first.")
    check_paths(ws.config)
    result = render_clips(trajectories, ws.config.pool, ws.config.clips, ws.clips, ws.workers, salt=ws.salt)
    done = []
    for t in trajectories:
        entry = result.clips.get(t.trajectory_id)
        clip = str((ws.clips / f"{t.trajectory_id}.mp4").relative_to(ws.root)) if entry else ""
        done.append(replace(t, clip=clip, clip_sha256=entry.sha256 if entry else ""))
    if done != trajectories:
        ws.store.put_trajectories(done)
    write_manifest(ws.manifest, done)
    write_failures(ws.clips / "failures.csv", result.failures)
    return result


def render_clips(
    trajectories: Sequence[Trajectory], pool: Pool, clips: Clips, folder: Path, workers: Workers, *, salt: int
) -> ClipsResult:
    """Render the clips that are missing or were made with other settings; finished ones are kept.

    Args:
        folder: Where the clips are kept.
        salt: As in `Workspace`; the codes on the clips depend on it.
    """
    index = ClipIndex(folder)
    jobs, failures = plan(trajectories, pool, clips, folder, salt)
    missing = [job for job in jobs if not index.has(job.trajectory.trajectory_id, job.key)]
    broken: set[str] = set()
    results = parallel_map(
        _Render(pool, clips), missing, workers=workers, description="Rendering clips",
        reads=files_read(pool), writes=attrgetter("path"),
    )  # fmt: skip
    for job, result in results:
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
        os._exit(143)  # a pool's worker takes an exception for a result and would continue with its next item
    finally:
        signal.signal(signal.SIGTERM, before)
