"""Trajectories out of datasets: read every episode, measure it, and rank the pool.

`build_pool` is the stage: the datasets of robopref.toml in, rows of `trajectories` out, with manifest.csv, pool.png
and failures.csv beside them. `read_pool` is the same without a workspace, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from importer.pool.dataset import files_read, open_dataset
from importer.pool.episode import BadInput, Episode
from importer.pool.manifest import Failure, failure_of, write_failures, write_manifest
from importer.pool.outside import guarded
from importer.pool.plot import draw_pool
from importer.pool.quality import grasp_stability, path_efficiency, rank_pool, smoothness
from importer.pool.trim import trim
from preference.config import Clips, Config, Dataset, Pool
from preference.errors import ConfigError, UserError
from preference.records import Trajectory
from preference.work import HERE, Workers, parallel_map
from preference.workspace import Workspace

FEW = 1000
"""Below so many episodes, reading them takes less time than starting a second process."""
TELLING = ("expert", "novice", "random", "scripted", "policy", "checkpoint", "success", "fail", "good", "bad")


@dataclass(frozen=True)
class PoolResult:
    """Every episode of the pool is in one of the two lists."""

    trajectories: list[Trajectory]
    failures: list[Failure]
    notes: list[str] = field(default_factory=list)
    """Not failures, but good to know: ties, small groups, names that give a source away."""


@dataclass(frozen=True)
class _Item:
    """An episode to read, as it travels to a worker process."""

    dataset: Dataset
    episode_index: int


@dataclass(frozen=True)
class _Measure:
    """`measure` with its settings, picklable."""

    clips: Clips

    def __call__(self, item: _Item) -> Trajectory:
        opened = open_dataset(item.dataset)
        with guarded(item.dataset.path):
            episode = opened.read(item.episode_index)
            return measure(episode, item.dataset.name, opened.trajectory_id(item.episode_index), self.clips)


def build_pool(ws: Workspace) -> PoolResult:
    """Read and measure every configured episode; write the manifest, its picture, the failures and the rows.

    Raises:
        ConfigError: no dataset is configured, or one does not exist.
        UserError: none of the episodes could be read.
    """
    if not ws.config.pool.dataset:
        raise ConfigError(f"{ws.config.file}: no dataset is configured.", fix="Add a [[pool.dataset]] with its path.")
    check_paths(ws.config)
    result = read_pool(ws.config.pool, ws.config.clips, ws.workers)
    write_failures(ws.manifest.with_name("failures.csv"), result.failures)
    if not result.trajectories:
        first = f" The first failure: {result.failures[0]}" if result.failures else ""
        raise UserError(f"No episode could be read.{first}")
    known = {t.trajectory_id: t for t in ws.store.trajectories()}
    _check_adopted(result.trajectories, known)
    trajectories = [_with_known_clip(t, known.get(t.trajectory_id)) for t in result.trajectories]
    _store(ws, trajectories, known)
    draw_pool(ws.manifest.with_name("pool.png"), trajectories)
    write_manifest(ws.manifest, trajectories)
    return replace(result, trajectories=trajectories, notes=[*result.notes, *_telling_ids(trajectories, ws.config)])


def check_paths(config: Config) -> None:
    """
    Raises:
        ConfigError: a dataset, or its sidecar file, does not exist.
    """
    for index, dataset in enumerate(config.pool.dataset):
        for name, path in (("path", dataset.path), ("sidecar", Path(dataset.sidecar or dataset.path))):
            if not path.exists():
                raise ConfigError(f"{config.file}: pool.dataset[{index}].{name}: {path} does not exist.")


def _check_adopted(trajectories: Iterable[Trajectory], known: Mapping[str, Trajectory]) -> None:
    """
    Raises:
        ConfigError: an episode has the id of another one, which came with an adopted release.
    """
    for t in trajectories:
        other = known.get(t.trajectory_id)
        if other and other.adopted and (t.num_frames, t.task_type) != (other.num_frames, other.task_type):
            raise ConfigError(
                f"{t.trajectory_id} in the dataset {t.dataset!r} has {t.num_frames} frames of {t.task_type!r}; the "
                f"adopted release has this id for another episode, with {other.num_frames} frames of "
                f"{other.task_type!r}.",
                fix="Give your dataset another `name` in robopref.toml.",
            )


def _with_known_clip(trajectory: Trajectory, known: Trajectory | None) -> Trajectory:
    """Keep its clip in the record; the next `clips` checks whether it still fits the settings."""
    return replace(trajectory, clip=known.clip, clip_sha256=known.clip_sha256) if known else trajectory


def _store(ws: Workspace, trajectories: Sequence[Trajectory], known: dict[str, Trajectory]) -> None:
    """Write the pool's rows; those that left the pool stay, since pairs refer to them, but are no longer ranked."""
    here = {t.trajectory_id for t in trajectories}
    gone = [replace(t, quartile=0, in_pool=False) for key, t in known.items() if key not in here]
    ws.store.put_trajectories([*trajectories, *gone])


def read_pool(config: Pool, clips: Clips, workers: Workers = HERE) -> PoolResult:
    """Read and measure every episode of every dataset; bad ones are listed and do not stop the others.

    Args:
        config: The datasets and what makes the expert tier.
        clips: How much is kept before the first action and after completion.
        workers: With `HERE`, a file that crashes the library that reads it ends this process.
    """
    items, failures, notes = _listed(config.dataset)
    if workers != HERE and len(items) < FEW:
        workers = Workers(1)
    found: list[Trajectory] = []
    folders = files_read(config)
    measured = parallel_map(_Measure(clips), items, workers=workers, description="Reading episodes", reads=folders)
    for item, result in measured:
        if isinstance(result, UserError):
            failures.append(failure_of(item.dataset.name, item.episode_index, result))
        else:
            found.append(result)
    ranked, told = rank_pool(found, demonstrations=config.demonstrations, expert_share=config.expert_share)
    failures.sort(key=lambda f: (f.dataset, -1 if f.episode_index is None else f.episode_index))
    return PoolResult(ranked, failures, [*notes, *_missing_views(config, ranked), *told])


def _listed(datasets: Iterable[Dataset]) -> tuple[list[_Item], list[Failure], list[str]]:
    """Every episode except those whose id is taken; datasets that cannot be opened are failures."""
    items: list[_Item] = []
    failures: list[Failure] = []
    notes: list[str] = []
    owners: dict[str, str] = {}
    for dataset in datasets:
        try:
            opened = open_dataset(dataset)
        except UserError as error:
            failures.append(failure_of(dataset.name, None, error))
            continue
        notes += [f"{dataset.name}: {note}" for note in opened.reader.schema.notes]
        for index, name in opened.episodes.items():
            key = opened.trajectory_id(index)
            owner = owners.setdefault(key, f"{name!r} of {dataset.name!r}")
            if owner == f"{name!r} of {dataset.name!r}":
                items.append(_Item(dataset, index))
            else:
                reason = f"{name!r} gives the id {key}, which {owner} has already; rename one of them"
                failures.append(failure_of(dataset.name, index, BadInput(dataset.path, "trajectory_id", reason)))
    return items, failures, notes


def measure(episode: Episode, dataset: str, trajectory_id: str, clips: Clips) -> Trajectory:
    """One episode as a trajectory, not yet ranked among the others."""
    span = trim(episode, clips.before_s, clips.after_s)
    active = (episode.time >= span.first_action_s) & (episode.time <= span.completion_s)
    positions = episode.effector if np.isfinite(episode.effector).all() else episode.state
    return Trajectory(
        trajectory_id=trajectory_id,
        dataset=dataset,
        episode_index=episode.episode_index,
        source=episode.source,
        task_type=episode.task_type,
        environment_id=episode.environment_id,
        robot=episode.robot,
        cameras=", ".join(name for name, view in episode.views.items() if view is not None),
        success=episode.success,
        quality=episode.quality,
        true_return=episode.true_return,
        path_efficiency=path_efficiency(episode.effector[active]),
        smoothness=smoothness(positions[active], episode.fps),
        grasp_stability=grasp_stability(episode.gripper[active]),
        peak_force=float(np.max(episode.force)),
        duration_s=span.duration_s,
        start_s=round(span.start_s, 6),
        end_s=round(span.end_s, 6),
        num_frames=len(episode.time),
        fps=episode.fps,
    )


def _missing_views(config: Pool, trajectories: Sequence[Trajectory]) -> list[str]:
    """An episode without one of several cameras is used: the reward model does not look at what is not there."""
    notes = []
    for dataset in config.dataset:
        own = [t for t in trajectories if t.dataset == dataset.name]
        for camera in dataset.columns.camera if len(dataset.columns.camera) > 1 else ():
            lacking = [t.trajectory_id for t in own if camera not in t.cameras.split(", ")]
            if lacking:
                notes.append(
                    f"{dataset.name}: {len(lacking)} of {len(own)} episodes lack the camera {camera}; the first is "
                    f"{lacking[0]}. The reward model goes by their other cameras."
                )
    return notes


def _telling_ids(trajectories: Sequence[Trajectory], config: Config) -> list[str]:
    """Where annotators see a trajectory's id, in a clip's corner or its address, they see what it says."""
    if config.clips.watermark == "trajectory_id":
        where = 'with clips.watermark = "trajectory_id"'
    elif config.label_studio.clips == "url":
        where = 'with label_studio.clips = "url"'
    else:
        return []
    notes = []
    for dataset in sorted({t.dataset for t in trajectories}):
        ids = [t.trajectory_id for t in trajectories if t.dataset == dataset]
        words = [word for word in TELLING if any(word in key for key in ids)]
        if words:
            notes.append(
                f"Annotators see the ids of {dataset!r} {where}, and these contain {words[0]!r}: give the dataset (or "
                "its episodes) a neutral name, so that annotators judge only the motion."
            )
    return notes
