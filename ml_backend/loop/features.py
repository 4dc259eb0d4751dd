"""Features of a whole pool: trajectories of a workspace in, a `FeatureStore` out, one cached file per trajectory.

A file's name carries a hash of the source's content and of every setting that its values depend on, so other settings
never find it, several processes may write it at once, and a killed run resumes. Frames are
those from the trimmed start to the episode's end, without the overlay that people see.

Without a GPU each process decodes and encodes whole trajectories on one thread, so that reading the next video never
keeps a core from encoding. With one, processes decode and this one feeds the GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.clips.index import content_key
from importer.pool import Failure, failure_of, feature_names_of, files_of, find_dataset, read_episode
from importer.pool.manifest import write_failures
from importer.pool.video import clean_frames, sample_rows
from ml_backend.reward.encoder import Encoder, load, onnx_file
from ml_backend.reward.features import FeatureFiles, Features, check_sizes, is_complete, read_features, write_features
from ml_backend.reward.weights import EncoderSettings, resolve_weights
from preference.config import Pool, Reward
from preference.errors import DataError, UserError
from preference.records import Trajectory
from preference.work import HERE, Workers, parallel_map, remark
from preference.workspace import Workspace

if TYPE_CHECKING:
    from ml_backend.reward.model import ModelSpec

FAILURES = "features/failures.csv"
"""In the work folder: the trajectories that the newest run could not encode, and why."""
RECIPE = 1
"""Part of every key: raise it when the same settings would give other values."""
IN_PROCESS = 12
"""Below so many trajectories, encoding them takes less time than starting processes that each import torch."""
PROJECTION = 16
"""Principal components of the frame features that the model sees: with a few hundred labels, more only memorize."""
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

    def __getitem__(self, trajectory_id: str) -> Features:
        return read_features(self.paths[trajectory_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def sequence(self, trajectory_ids: Sequence[str]) -> Sequence[Features]:
        """Some of them, in this order.

        Raises:
            KeyError: one of them is not here.
        """
        return FeatureFiles([self.paths[name] for name in trajectory_ids])

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
    return resolve_weights(reward.encoder, reward.weights) if "frames" in reward.inputs else None


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
    missing = [job for job in jobs if not is_complete(job.path)]
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
    return FeatureStore(paths, settings, failures, encoded=len(missing) - len(failures) + known)


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
            failures[t.trajectory_id] = _failure(t, error)
        else:
            jobs.append(Job(t, folder / f"{t.trajectory_id}.{key}.npy"))
    return jobs, failures


def describe(ws: Workspace, store: FeatureStore, trajectories: Sequence[Trajectory]) -> ModelSpec:
    """The description of a model that will be trained on `store`."""
    from ml_backend.reward.model import ModelSpec

    reward = ws.config.reward
    example = store[trajectories[0].trajectory_id]
    names = feature_names_of(ws.config.pool, trajectories[0])

    def complete(kind: str, size: int) -> tuple[str, ...]:
        """The dataset's names of the values, or numbers where it has none."""
        found = names.get(kind, [])
        return tuple(found) if len(found) == size else tuple(f"{kind}_{i}" for i in range(size))

    return ModelSpec(
        encoder=reward.encoder,
        weights=store.encoder.shown if store.encoder else "none",
        image_size=store.encoder.image_size if store.encoder else 0,
        sample_fps=reward.sample_fps,
        max_frames=reward.max_frames,
        inputs=tuple(reward.inputs),
        frame_size=example.frames.shape[1],
        action_names=complete("action", example.actions.shape[1]),
        state_names=complete("state", example.state.shape[1]),
        temporal=reward.temporal,
        hidden=reward.hidden,
        members=reward.members,
        projection=PROJECTION if "frames" in reward.inputs else 0,
        task_types=tuple(sorted({t.task_type for t in trajectories})),
        encoder_digest=store.encoder.digest if store.encoder else "",
    )


def features_for(ws: Workspace, spec: ModelSpec, folder: Path) -> FeatureStore:
    """The pool as this model sees it, even where robopref.toml has changed since its training.

    Args:
        folder: Of the model.

    Raises:
        DataError: the encoder's weights are not those that the model was trained on, or trajectories are of another
            robot.
    """
    seen = ws.config.reward.model_copy(
        update={
            "encoder": spec.encoder,
            "weights": weights_for(ws.config.reward, spec, folder),
            "inputs": list(spec.inputs),
            "sample_fps": spec.sample_fps,
            "max_frames": spec.max_frames,
        }
    )
    encoder = encoder_settings(seen)
    if encoder and encoder.digest != spec.encoder_digest:
        raise DataError(
            f"{folder / 'model.pt'} does not match this configuration: it was trained on {spec.encoder} with weights "
            f"{spec.weights!r} ({spec.encoder_digest}), but here they are {encoder.shown!r} ({encoder.digest}). "
            f"{encoder.note}".rstrip(),
            fix="Bring the same weights onto this machine, or run `robopref train` again.",
        )
    then = Workspace(ws.config.model_copy(update={"reward": seen}))
    store = encode_pool(then, ws.store.trajectories(), encoder)
    check_sizes(store.paths, spec.sizes, folder / "model.pt")
    return store


def weights_for(reward: Reward, spec: ModelSpec, folder: Path) -> str:
    """The value of `reward.weights` that gives the weights which the model was trained on."""
    if (folder / OWN_ENCODER).is_file():
        return str(folder / OWN_ENCODER)
    return spec.weights if spec.weights in ("imagenet", "none") else reward.weights


@dataclass(frozen=True)
class Sampled:
    """One trajectory as it is read: pictures instead of features."""

    pictures: np.ndarray
    """(T, H, W, 3) uint8; T = 0 where the model does not look at frames."""
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

    def __call__(self, job: Job) -> Sampled:
        t = job.trajectory
        episode = read_episode(self.pool, t)
        span = (*t.seen, self.reward.sample_fps, self.reward.max_frames)
        if self.pictures:
            frames, rows = clean_frames(episode, *span)
        else:
            rows = sample_rows(episode.time, *span)
            frames = np.zeros((0, 1, 1, 3), dtype=np.uint8)
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
    read = _Read(ws.config.pool, ws.config.reward, pictures=encoder is not None)
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
    for job, result in parallel_map(task, jobs, workers=workers, description="Encoding frames"):
        if isinstance(result, UserError):
            yield job, result


def _on_gpu(jobs: Sequence[Job], read: _Read, network: Encoder, workers: Workers) -> Iterator[tuple[Job, UserError]]:
    for job, found in parallel_map(read, jobs, workers=workers, description="Encoding frames"):
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
    frames = encoder.encode(sampled.pictures) if encoder else np.zeros((steps, 0), dtype=np.float16)
    features = Features(frames, sampled.actions, sampled.state)
    for part, values in vars(features).items():
        if not np.isfinite(values).all():
            raise DataError(f"{job.trajectory.trajectory_id}, {part}: holds nan or infinity.")
    write_features(features, job.path)


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
