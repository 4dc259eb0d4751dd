"""Encoding the trajectories that the cache lacks: by processes, on Ray, or in batches on a GPU.

Without a GPU each process decodes and encodes whole trajectories on one thread, so that reading the next video never
keeps a core from encoding. With one, processes decode and this one feeds the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.pool import read_episode
from importer.pool.video import clean_frames, sample_rows
from ml_backend.reward.encoder import Encoder, EncoderSettings, load
from ml_backend.reward.features import Features, Job, write_features
from ml_backend.reward.runtime import onnx_file
from preference.config import Pool, Reward
from preference.errors import DataError, UserError
from preference.records import Trajectory
from preference.work import HERE, parallel_map
from preference.workspace import Workspace

if TYPE_CHECKING:
    from preference.work import Workers

IN_PROCESS = 12
"""Below so many trajectories, encoding them takes less time than starting processes that each import torch."""


@dataclass(frozen=True)
class Sampled:
    """One trajectory as it is read: pictures instead of features."""

    pictures: np.ndarray
    """(T, H, W, 3) uint8; T = 0 where the model does not look at frames."""
    actions: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class _Read:
    """`sample` with its settings, picklable."""

    pool: Pool
    reward: Reward
    pictures: bool

    def __call__(self, job: Job) -> Sampled:
        return sample(job.trajectory, self.pool, self.reward, pictures=self.pictures)


@dataclass(frozen=True)
class _Encode:
    """Read, encode and write, picklable; each process loads the network once."""

    read: _Read
    encoder: EncoderSettings | None
    onnx: Path | None
    threads: int
    """0 = the runtime's own choice."""

    def __call__(self, job: Job) -> None:
        network = _loaded(self.encoder, self.onnx, self.threads) if self.encoder else None
        write_features(encode(self.read(job), network, job.trajectory.trajectory_id), job.path)


def encode_missing(
    jobs: Sequence[Job], encoder: EncoderSettings | None, ws: Workspace
) -> Iterator[tuple[Job, UserError]]:
    """Write the features of all `jobs`; yields those that could not be read.

    Args:
        encoder: None where the model does not look at frames.
    """
    if not jobs:
        return
    read = _Read(ws.config.pool, ws.config.reward, pictures=encoder is not None)
    alone = len(jobs) < IN_PROCESS
    workers = HERE if alone else ws.workers
    if encoder is not None and _has_gpu():
        yield from _on_gpu(jobs, read, load(encoder).to("cuda"), workers)
        return
    onnx = onnx_file(encoder, ws.features / "runtime", _frames(jobs, ws.config.reward)) if encoder else None
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
            write_features(encode(found, network, job.trajectory.trajectory_id), job.path)
        except DataError as error:
            yield job, error


def sample(trajectory: Trajectory, pool: Pool, reward: Reward, *, pictures: bool) -> Sampled:
    """Read one trajectory's trimmed span.

    Raises:
        DataError: it cannot be read, or has no images where `pictures` are wanted.
    """
    episode = read_episode(pool, trajectory)
    span = (trajectory.start_s, trajectory.end_s, reward.sample_fps, reward.max_frames)
    if pictures:
        frames, rows = clean_frames(episode, *span)
    else:
        rows = sample_rows(episode.time, *span)
        frames = np.zeros((0, 1, 1, 3), dtype=np.uint8)
    return Sampled(frames, episode.actions[rows].astype(np.float32), episode.state[rows].astype(np.float32))


def encode(sampled: Sampled, encoder: Encoder | None, name: str) -> Features:
    """The features of what was read.

    Raises:
        DataError: values are no numbers.
    """
    steps = len(sampled.actions)
    frames = encoder.encode(sampled.pictures) if encoder else np.zeros((steps, 0), dtype=np.float16)
    features = Features(frames, sampled.actions, sampled.state)
    for part in ("frames", "actions", "state"):
        if not np.isfinite(getattr(features, part)).all():
            raise DataError(f"{name}, {part}: holds nan or infinity.")
    return features


def _frames(jobs: Sequence[Job], reward: Reward) -> int:
    """About how many there are to encode."""
    lengths = (job.trajectory.end_s - job.trajectory.start_s for job in jobs)
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
