"""Trajectory pool: read, validate, measure, tier and rank the episodes of the configured datasets.

`read_pool` takes the datasets that robopref.toml names and returns one `Trajectory` per good episode and one
`Failure` per bad one; `read_episode` gives the arrays behind a trajectory. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from importer.pool.episode import BadInput, Episode, Reader, VideoSpan
from importer.pool.manifest import Failure, failure_of
from preference.config import Clips, Dataset, Pool
from preference.errors import UserError
from preference.records import Trajectory
from preference.work import parallel_map

__all__ = [
    "Episode",
    "Failure",
    "PoolResult",
    "Reader",
    "VideoSpan",
    "failure_of",
    "find_dataset",
    "measure",
    "open_reader",
    "read_episode",
    "read_pool",
    "trajectory_id",
]

IN_PROCESS = 1000
"""Below so many episodes, reading them takes less time than starting processes."""
TELLING = ("expert", "novice", "random", "scripted", "policy", "checkpoint", "success", "fail", "good", "bad")


@dataclass(frozen=True)
class PoolResult:
    """Every episode of the pool is in one of the two lists."""

    trajectories: list[Trajectory]
    failures: list[Failure]
    notes: list[str] = field(default_factory=list)
    """What is no failure, but a person should know: ties, small groups, names that give a source away."""


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
        return measure(_reader(item.dataset).read(item.episode_index), item.dataset.name, self.clips)


def read_pool(config: Pool, clips: Clips, workers: int = 0) -> PoolResult:
    """Read and measure every episode of every dataset; bad ones are listed and do not stop the others.

    Args:
        config: The datasets and what makes the expert tier.
        clips: How much is kept before the first action and after completion.
        workers: Processes; 0 = one per core.
    """
    from importer.pool.quality import rank_pool

    items: list[_Item] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    for dataset in config.dataset:
        try:
            prefix = trajectory_id(dataset.name, 0)
            if prefix in seen:
                fix = "Give each dataset a `name` that differs in its letters and digits."
                raise BadInput("robopref.toml", "pool.dataset.name", f"{dataset.name!r} gives ids used twice", fix=fix)
            seen.add(prefix)
            items += [_Item(dataset, index) for index in _reader(dataset).episode_indices()]
        except UserError as error:
            failures.append(failure_of(dataset.name, None, error))
    found: list[Trajectory] = []
    count = workers if len(items) >= IN_PROCESS else 1
    for item, result in parallel_map(_Measure(clips), items, workers=count, description="Reading episodes"):
        if isinstance(result, UserError):
            failures.append(failure_of(item.dataset.name, item.episode_index, result))
        else:
            found.append(result)
    ranked, notes = rank_pool(found, demonstrations=config.demonstrations, expert_share=config.expert_share)
    failures.sort(key=lambda f: (f.dataset, -1 if f.episode_index is None else f.episode_index))
    return PoolResult(ranked, failures, _telling_names(config.dataset) + notes)


def measure(episode: Episode, dataset: str, clips: Clips) -> Trajectory:
    """What one episode's arrays say, without its rank among the others."""
    import numpy as np

    from importer.pool import quality
    from importer.pool.trim import trim

    span = trim(episode, clips.before_s, clips.after_s)
    active = (episode.time >= span.first_action_s) & (episode.time <= span.completion_s)
    positions = episode.effector if np.isfinite(episode.effector).all() else episode.state
    return Trajectory(
        trajectory_id=trajectory_id(dataset, episode.episode_index),
        dataset=dataset,
        episode_index=episode.episode_index,
        source=episode.source,
        task_type=episode.task_type,
        environment_id=episode.environment_id,
        success=episode.success,
        quality=episode.quality,
        true_return=episode.true_return,
        path_efficiency=quality.path_efficiency(episode.effector[active]),
        smoothness=quality.smoothness(positions[active], episode.fps),
        grasp_stability=quality.grasp_stability(episode.gripper[active]),
        duration_s=span.duration_s,
        start_s=round(span.start_s, 6),
        end_s=round(span.end_s, 6),
        num_frames=len(episode.time),
        fps=episode.fps,
    )


def trajectory_id(dataset: str, episode_index: int) -> str:
    """`sample-000012`: the same on every run, and safe as a file name and in a URL."""
    name = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "dataset"
    return f"{name}-{episode_index:06d}"


def open_reader(dataset: Dataset) -> Reader:
    """The reader for the dataset's format, which is found from its files when the format is `auto`.

    Raises:
        BadInput: the folder is missing, or no reader knows what is in it.
    """
    from importer.pool.lerobot import read_info
    from importer.pool.lerobot_v3 import LeRobotV3

    if not dataset.path.is_dir():
        raise BadInput(dataset.path, "", "the dataset's folder is missing", fix="Check pool.dataset.path.")
    if dataset.format == "lerobot_v3":
        return LeRobotV3(dataset)
    info = read_info(dataset.path)
    if LeRobotV3.recognizes(info):
        return LeRobotV3(dataset)
    version = info.get("codebase_version")
    file = dataset.path / "meta" / "info.json"
    raise BadInput(file, "codebase_version", f"expected v3.0, found {version!r}")


def feature_names_of(config: Pool, trajectory: Trajectory) -> dict[str, list[str]]:
    """What the trajectory's dataset calls the values of `action` and `state`; empty lists where it has no names."""
    return _reader(find_dataset(config, trajectory)).names()


def read_episode(config: Pool, trajectory: Trajectory) -> Episode:
    """The arrays behind a trajectory of the manifest.

    Raises:
        DataError: the dataset is no longer configured, or the episode cannot be read any more.
    """
    return _reader(find_dataset(config, trajectory)).read(trajectory.episode_index)


def find_dataset(config: Pool, trajectory: Trajectory) -> Dataset:
    """The dataset that the trajectory came from.

    Raises:
        BadInput: robopref.toml no longer names it.
    """
    for dataset in config.dataset:
        if dataset.name == trajectory.dataset:
            return dataset
    fix = "Add it again, or run `robopref pool`."
    raise BadInput("robopref.toml", "pool.dataset", f"there is no dataset {trajectory.dataset!r}", fix=fix)


def _reader(dataset: Dataset) -> Reader:
    """A reader that is kept for the next episode of the same dataset, until the dataset's metadata change."""
    meta = dataset.path / "meta"
    stamps = [file.stat().st_mtime_ns for file in sorted(meta.rglob("*")) if file.is_file()] if meta.is_dir() else []
    return _cached_reader(dataset.model_dump_json(), tuple(stamps))


@lru_cache(maxsize=8)
def _cached_reader(dataset: str, _stamps: tuple[int, ...]) -> Reader:
    return open_reader(Dataset.model_validate_json(dataset))


def _telling_names(datasets: Sequence[Dataset]) -> list[str]:
    """The dataset's name is part of what annotators see on a clip."""
    notes = []
    for dataset in datasets:
        words = [word for word in TELLING if word in trajectory_id(dataset.name, 0)]
        if words:
            notes.append(
                f"The name of dataset {dataset.name!r} is shown on its clips and says {words[0]!r}; "
                "give it a neutral `name`, so that annotators judge what they see."
            )
    return notes
