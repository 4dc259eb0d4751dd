"""Features of a whole pool: trajectories of a workspace in, a `FeatureStore` out, one cached file per trajectory.

A file's name carries a hash of the source's content and of every setting that its values depend on, so other settings
never find it, several processes may write it at once, and a killed run resumes. Frames are
those from the trimmed start to the episode's end, without the overlay that people see.

Without a GPU each process decodes and encodes whole trajectories on one thread, so that reading the next video never
keeps a core from encoding. With one, processes decode and this one feeds the GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np

from importer.clips.index import content_key
from importer.pool import Failure, failure_of, files_of, files_read, find_dataset, read_episode
from importer.pool.manifest import write_failures
from importer.pool.video import clean_frames, sample_rows
from ml_backend.reward.encoder import Encoder, load, onnx_file
from ml_backend.reward.encoder_weights import EncoderSettings, assumed_preprocessing, resolve_weights
from ml_backend.reward.features import (
    FeatureFiles,
    Features,
    read_features,
    recorded_sizes,
    write_features,
)
from ml_backend.reward.layout import Layout, Placed, Robot
from preference.config import Pool, Reward
from preference.errors import DataError, UserError
from preference.records import ADOPTED, Trajectory
from preference.work import HERE, Workers, parallel_map, remark
from preference.workspace import Workspace

FAILURES = "features/failures.csv"
"""In the work folder: the trajectories that the newest run could not encode, and why."""
RECIPE = 1
"""Part of every key: raise it when the same settings would give other values."""
IN_PROCESS = 12
"""Below so many trajectories, encoding them takes less time than starting processes that each import torch."""
ENCODERS = "encoders"
"""Folder of the work folder for encoders that `robopref train --finetune` trained."""
OWN_ENCODER = "encoder.pt"
"""Beside model.pt where the encoder was trained too (`robopref train --finetune`)."""


@dataclass(frozen=True)
class FeatureStore(Mapping[str, Features]):
    """trajectory_id → features, read when asked for and not kept; a file is memory-mapped."""

    paths: dict[str, Path]
    encoder: EncoderSettings | None
    """None where the model does not look at frames."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """trajectory_id → why it could not be read, and is therefore not here."""
    encoded: int = 0
    """How many were new."""
    layout: Layout | None = None
    """Of the model that looks at them; None = as recorded."""
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """trajectory_id → its robot and its task in the layout."""
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """trajectory_id → values per step of what is recorded, of those that were looked at."""

    def __getitem__(self, trajectory_id: str) -> Features:
        item = read_features(self.paths[trajectory_id])
        return self.layout.place(item, *self.places[trajectory_id]) if self.layout else item

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def sequence(self, trajectory_ids: Sequence[str]) -> Sequence[Features]:
        """Some of them, in this order.

        Raises:
            KeyError: one of them is not here.
        """
        files = FeatureFiles([self.paths[name] for name in trajectory_ids])
        if self.layout is None:
            return files
        places = [self.places[name] for name in trajectory_ids]
        return Placed(files, self.layout, [robot for robot, _ in places], [task for _, task in places])

    def placed(self, layout: Layout, trajectories: Iterable[Trajectory]) -> FeatureStore:
        """The same as a model of this layout sees it."""
        own = [t for t in trajectories if t.trajectory_id in self.paths]
        places = {t.trajectory_id: (layout.robot(self.robot_of(t)), layout.task(t.task_type)) for t in own}
        return replace(self, layout=layout, places=places)

    def robot_of(self, trajectory: Trajectory) -> Robot:
        """Its kind."""
        sizes = self.sizes_of(trajectory.trajectory_id)
        return Robot(trajectory.robot, sizes["actions"], sizes["state"])

    def sizes_of(self, trajectory_id: str) -> dict[str, int]:
        """Values per step of its frames, actions and state; its file is opened once."""
        if trajectory_id not in self.sizes:
            self.sizes[trajectory_id] = recorded_sizes(self.paths[trajectory_id])
        return self.sizes[trajectory_id]

    def require(self, trajectory_ids: Iterable[str]) -> None:
        """
        Raises:
            DataError: one of them has no features; says why.
        """
        missing = sorted(set(trajectory_ids) - set(self.paths))
        if not missing:
            return
        why = str(self.failures.get(missing[0], "it is not in the pool"))
        raise DataError(
            f"{len(missing)} compared trajectories have no features. The first is {missing[0]} ({why}).",
            fix=f"Restore or repair them (all are in {FAILURES}); training needs both trajectories of a pair.",
        )


def encoder_settings(reward: Reward) -> EncoderSettings | None:
    """The encoder and the weights that it gets; None where the model does not look at frames."""
    if "frames" not in reward.inputs:
        return None
    return resolve_weights(reward.encoder, reward.weights, reward.image_size)


def assumed(ws: Workspace, encoder: EncoderSettings | None) -> str:
    """What is assumed of how weights from elsewhere were trained; empty for those that were made here.

    Raises:
        ConfigError: they were trained with another preprocessing.
    """
    if encoder is None or Path(encoder.weights).is_relative_to(ws.root):
        return ""
    return assumed_preprocessing(encoder)


@dataclass(frozen=True)
class Job:
    """One trajectory to encode, as it travels to a worker process."""

    trajectory: Trajectory
    path: Path


def encode_pool(
    ws: Workspace, trajectories: Sequence[Trajectory], encoder: EncoderSettings | None = None
) -> FeatureStore:
    """Features of all `trajectories`; those in the cache are kept, the others encoded.

    Args:
        encoder: Where it has been settled before.

    Raises:
        ConfigError: the encoder or its weights do not exist.
        DataError: not one trajectory could be read.
    """
    reward = ws.config.reward
    settings = encoder or encoder_settings(reward)
    jobs, failures = plan(trajectories, ws.config.pool, reward, settings, ws.features)
    sizes = {job.trajectory.trajectory_id: found for job in jobs if (found := _cached(job.path))}
    missing = [job for job in jobs if job.trajectory.trajectory_id not in sizes]
    if cut := sum(job.path.exists() for job in missing):
        remark(f"{cut} feature files were truncated; their trajectories are encoded again.")
    known = len(failures)
    for job, error in _encode_missing(missing, settings, ws):
        failures[job.trajectory.trajectory_id] = _failure(job.trajectory, error)
    paths = {job.trajectory.trajectory_id: job.path for job in jobs if job.trajectory.trajectory_id not in failures}
    write_failures(ws.root / FAILURES, list(failures.values()))
    if failures:
        first = next(iter(failures.values()))
        whole = len(trajectories)
        if not paths:
            fix = "Without images, leave frames out of reward.inputs." if settings else ""
            raise DataError(f"None of {whole} trajectories could be encoded. The first: {first}.", fix=fix)
        remark(f"{len(failures)} of {whole} trajectories have no features ({FAILURES}). The first: {first}.")
    return FeatureStore(paths, settings, failures, encoded=len(missing) - len(failures) + known, sizes=sizes)


def _cached(path: Path) -> dict[str, int]:
    """What a finished file's header says; empty where there is none."""
    try:
        return recorded_sizes(path) if path.exists() else {}
    except DataError:
        return {}


def features_file(folder: Path, trajectory_id: str, encoder: EncoderSettings | None, reward: Reward) -> Path:
    """Where features that came with a release are. Their episode is not here, so only settings are in the key."""
    network = (encoder.name, encoder.digest, encoder.image_size) if encoder else None
    return folder / f"{trajectory_id}.{content_key((), ADOPTED, network, reward.sample_fps, reward.max_frames)}.npy"


def plan(
    trajectories: Sequence[Trajectory], pool: Pool, reward: Reward, encoder: EncoderSettings | None, folder: Path
) -> tuple[list[Job], dict[str, Failure]]:
    """Where each trajectory's features are, or will be; and why a trajectory can have none."""
    jobs: list[Job] = []
    failures: dict[str, Failure] = {}
    network = (encoder.name, encoder.digest, encoder.image_size) if encoder else None
    for t in trajectories:
        try:
            files = files_of(pool, t)
            span = (t.episode_index, *t.seen, reward.sample_fps, reward.max_frames)
            key = content_key(files, RECIPE, network, span, find_dataset(pool, t).columns.model_dump(exclude={"robot"}))
        except UserError as error:
            kept = features_file(folder, t.trajectory_id, encoder, reward)
            if t.adopted and _cached(kept):
                jobs.append(Job(t, kept))
            else:
                failures[t.trajectory_id] = _failure(t, error)
        else:
            jobs.append(Job(t, folder / f"{t.trajectory_id}.{key}.npy"))
    return jobs, failures


@dataclass(frozen=True)
class Sampled:
    """One trajectory as it is read: pictures instead of features."""

    pictures: tuple[np.ndarray | None, ...]
    """(T, H, W, 3) uint8 of each view, None where it is missing; empty where the model does not look at frames."""
    actions: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class _Read:
    """Reads what the model sees of a trajectory; picklable.

    Raises:
        DataError: it cannot be read, or has no images where `pictures` are wanted.
    """

    pool: Pool
    reward: Reward
    pictures: bool
    blind: bool = False
    """Whether a trajectory may be without images, since others have them."""

    def __call__(self, job: Job) -> Sampled:
        t = job.trajectory
        episode = read_episode(self.pool, t)
        span = (*t.seen, self.reward.sample_fps, self.reward.max_frames)
        rows = sample_rows(episode.time, *span)
        frames: tuple[np.ndarray | None, ...] = ()
        if self.pictures and episode.video is None and self.blind:
            frames = (None,)
        elif self.pictures:
            views = list(episode.views.values()) or [episode.video]
            frames = tuple(
                None if view is None and len(views) > 1 else clean_frames(episode, *span, view)[0] for view in views
            )
        return Sampled(frames, episode.actions[rows].astype(np.float32), episode.state[rows].astype(np.float32))


@dataclass(frozen=True)
class _Encode:
    """Reads, encodes and writes; picklable. Each process loads the network once."""

    read: _Read
    encoder: EncoderSettings | None
    onnx: Path | None
    threads: int
    """0 = the runtime's own choice."""

    def __call__(self, job: Job) -> None:
        network = _loaded(self.encoder, self.onnx, self.threads) if self.encoder else None
        _write(self.read(job), network, job)


def _encode_missing(
    jobs: Sequence[Job], encoder: EncoderSettings | None, ws: Workspace
) -> Iterator[tuple[Job, UserError]]:
    """Write the features of all `jobs`; yields those that could not be read."""
    if not jobs:
        return
    read = _Read(ws.config.pool, ws.config.reward, encoder is not None, any(t.cameras for t in ws.store.trajectories()))
    alone = len(jobs) < IN_PROCESS
    workers = HERE if alone else ws.workers
    if encoder is not None and _has_gpu():
        yield from _on_gpu(jobs, read, load(encoder).to("cuda"), workers)
        return
    onnx = onnx_file(encoder, ws.features / "onnx", _frames(jobs, ws.config.reward)) if encoder else None
    if encoder:
        # once before the work begins: broken weights are one mistake, not one of each trajectory
        (_loaded if alone else load)(encoder, onnx, 0)
    task = _Encode(read, encoder, onnx, threads=0 if alone else 1)
    files = files_read(ws.config.pool)
    if encoder:
        files += [path for path in (onnx, Path(encoder.weights)) if path and path.is_file()]
    results = parallel_map(
        task,
        jobs,
        workers=workers,
        description="Encoding frames",
        reads=files,
        writes=attrgetter("path"),
    )
    for job, result in results:
        if isinstance(result, UserError):
            yield job, result


def _on_gpu(jobs: Sequence[Job], read: _Read, network: Encoder, workers: Workers) -> Iterator[tuple[Job, UserError]]:
    folders = files_read(read.pool)
    for job, found in parallel_map(read, jobs, workers=workers, description="Encoding frames", reads=folders):
        try:
            if isinstance(found, UserError):
                raise found
            _write(found, network, job)
        except DataError as error:
            yield job, error


def _write(sampled: Sampled, encoder: Encoder | None, job: Job) -> None:
    """
    Raises:
        DataError: values are not finite.
    """
    steps = len(sampled.actions)
    frames = np.zeros((steps, 0), dtype=np.float16)
    if encoder:
        missing = np.full((steps, encoder.size), np.nan, np.float16)
        seen = [encoder.encode(pictures) for pictures in sampled.pictures if pictures is not None]
        found = iter(seen)
        frames = np.hstack([missing if pictures is None else next(found) for pictures in sampled.pictures])
        _check_finite(np.hstack([missing[:, :0], *seen]), "frames", job)
    _check_finite(sampled.actions, "actions", job)
    _check_finite(sampled.state, "state", job)
    write_features(Features(frames, sampled.actions, sampled.state), job.path)


def _check_finite(values: np.ndarray, part: str, job: Job) -> None:
    if not np.isfinite(values).all():
        raise DataError(f"{job.trajectory.trajectory_id}, {part}: holds nan or infinity.")


def _frames(jobs: Sequence[Job], reward: Reward) -> int:
    """About how many there are to encode."""
    lengths = (t.num_frames / t.fps - t.start_s if t.fps else 0.0 for t in (job.trajectory for job in jobs))
    return sum(min(reward.max_frames, int(length * reward.sample_fps) + 1) for length in lengths)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@lru_cache(maxsize=1)
def _loaded(settings: EncoderSettings, onnx: Path | None, threads: int) -> Encoder:
    import torch

    if threads:
        torch.set_num_threads(threads)
    return load(settings, onnx, threads)


def _failure(t: Trajectory, error: UserError) -> Failure:
    return failure_of(t.dataset, t.episode_index, error)
