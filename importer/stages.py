"""The stages of the pool: read it, and render its clips.

Each takes a workspace, does what is missing, writes files and database rows, and can be killed and run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from preference.errors import NotReady, UserError
from preference.records import Trajectory
from preference.workspace import Workspace

if TYPE_CHECKING:
    from importer.clips.render import ClipsResult
    from importer.pool import PoolResult


def pool(ws: Workspace) -> PoolResult:
    """Read and measure every configured episode; write the manifest, its picture, the failures and the rows.

    Raises:
        UserError: no dataset is configured, or not one episode could be read.
    """
    from importer.pool import read_pool
    from importer.pool.manifest import write_failures, write_manifest
    from importer.pool.picture import draw_pool

    if not ws.config.pool.dataset:
        raise UserError("No dataset is configured.", fix="Add [[pool.dataset]] to robopref.toml.")
    result = read_pool(ws.config.pool, ws.config.clips, ws.workers)
    write_failures(ws.manifest.with_name("failures.csv"), result.failures)
    if not result.trajectories:
        first = f" The first: {result.failures[0]}" if result.failures else ""
        raise UserError(f"Not one of {len(result.failures)} episodes could be read.{first}")
    known = {t.trajectory_id: t for t in ws.store.trajectories()}
    trajectories = [_with_known_clip(t, known.get(t.trajectory_id)) for t in result.trajectories]
    _put_down(ws, trajectories, known)
    draw_pool(ws.manifest.with_name("pool.png"), trajectories)
    write_manifest(ws.manifest, trajectories)
    return replace(result, trajectories=trajectories)


def clips(ws: Workspace) -> ClipsResult:
    """Render the clips that are missing or outdated; write them into the manifest and the rows.

    Raises:
        NotReady: there is no pool yet.
    """
    from importer.clips.render import render_clips
    from importer.pool.manifest import read_manifest, write_failures, write_manifest

    if not ws.manifest.exists():
        raise NotReady("There is no pool yet.", fix="Run `robopref pool` first.")
    trajectories = read_manifest(ws.manifest)
    result = render_clips(trajectories, ws.config.pool, ws.config.clips, ws.clips, ws.workers)
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


def _with_known_clip(trajectory: Trajectory, known: Trajectory | None) -> Trajectory:
    """Its clip stays in the record; whether it still fits the settings is for the next `clips` to find out."""
    return replace(trajectory, clip=known.clip, clip_sha256=known.clip_sha256) if known else trajectory


def _put_down(ws: Workspace, trajectories: Sequence[Trajectory], known: dict[str, Trajectory]) -> None:
    """Rows for the pool as it is; those that left it stay, since pairs refer to them, but are no longer ranked."""
    here = {t.trajectory_id for t in trajectories}
    gone = [replace(t, quartile=0) for key, t in known.items() if key not in here]
    ws.store.put_trajectories([*trajectories, *gone])
