"""What the reward model sees of each trajectory: features of its clean frames, its actions and its state.

Trajectories come in; a `FeatureStore` goes out, backed by one file each under work/features. A file's name carries a
hash of the source's content and of every setting that its values depend on, so other settings never find it, several
processes may write it at once, and a killed run goes on where it was. Frames are those of the trimmed span, without
the overlay that people see.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from rich.markup import escape

from importer.clips.index import content_key
from importer.pool import Failure, failure_of, files_of, find_dataset
from importer.pool.manifest import write_failures
from ml_backend.reward.encoder import EncoderSettings, settle
from preference.artifacts import replacing
from preference.config import Pool, Reward
from preference.errors import DataError, UserError
from preference.records import Trajectory
from preference.work import console
from preference.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ml_backend.reward.model import ModelSpec

HEADER = 1024
"""Bytes in which a file's header ends."""
FAILURES = "features/failures.csv"
"""In the work folder: the trajectories that the newest run could not encode, and why."""
RECIPE = 1
"""Part of every key: raise it when the same settings would give other values."""


@dataclass(frozen=True)
class Features:
    """One trajectory, sampled: T steps at `reward.sample_fps`, thinner where the span is longer than `max_frames`.

    Actions and state are those of the sampled rows themselves, not means over the time between: so a released model
    takes any frame with its action, and needs no rows that it does not look at.
    """

    frames: np.ndarray
    """(T, D) float16; D = 0 where the model does not look at frames."""
    actions: np.ndarray
    """(T, A) float32, as recorded."""
    state: np.ndarray
    """(T, S) float32, as recorded; S may be 0."""

    def __len__(self) -> int:
        return len(self.actions)


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
        """Some of them in this order. Not a list: each open file takes a handle, and a system gives about a thousand.

        Raises:
            KeyError: one of them is not here.
        """
        return _Sequence([self.paths[name] for name in trajectory_ids])

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
            fix=f"Put back or mend what is wrong (all are in {FAILURES}); their pairs cannot be trained on without.",
        )


@dataclass(frozen=True)
class _Sequence(Sequence[Features]):
    paths: Sequence[Path]

    @overload
    def __getitem__(self, index: int) -> Features: ...
    @overload
    def __getitem__(self, index: slice) -> _Sequence: ...
    def __getitem__(self, index: int | slice) -> Features | _Sequence:
        return _Sequence(self.paths[index]) if isinstance(index, slice) else read_features(self.paths[index])

    def __len__(self) -> int:
        return len(self.paths)


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
    from ml_backend.reward.encoding import encode_missing

    reward = ws.config.reward
    settings = encoder or (settle(reward.encoder, reward.weights) if "frames" in reward.inputs else None)
    jobs, failures = plan(trajectories, ws.config.pool, reward, settings, ws.features)
    missing = [job for job in jobs if not is_complete(job.path)]
    if cut := sum(job.path.exists() for job in missing):
        _say(f"{cut} feature files were cut short; their trajectories are encoded again.")
    known = len(failures)
    for job, error in encode_missing(missing, settings, ws):
        failures[job.trajectory.trajectory_id] = _failure(job.trajectory, error)
    paths = {job.trajectory.trajectory_id: job.path for job in jobs if job.trajectory.trajectory_id not in failures}
    write_failures(ws.root / FAILURES, list(failures.values()))
    if failures:
        first = next(iter(failures.values()))
        whole = len(trajectories)
        if not paths:
            fix = "Without images, leave frames out of reward.inputs." if settings else ""
            raise DataError(f"Not one of {whole} trajectories could be encoded. The first: {first}.", fix=fix)
        _say(f"{len(failures)} of {whole} trajectories have no features ({FAILURES}). The first: {first}.")
    return FeatureStore(paths, settings, failures, encoded=len(missing) - len(failures) + known)


def _say(what: str) -> None:
    console.print(f"[yellow]{escape(what)}[/]", highlight=False, soft_wrap=True)


def _failure(t: Trajectory, error: UserError) -> Failure:
    return failure_of(t.dataset, t.episode_index, error)


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
            span = (t.episode_index, t.start_s, t.end_s, reward.sample_fps, reward.max_frames)
            key = content_key(files, RECIPE, network, span, find_dataset(pool, t).columns.model_dump())
        except UserError as error:
            failures[t.trajectory_id] = _failure(t, error)
        else:
            jobs.append(Job(t, folder / f"{t.trajectory_id}.{key}.npy"))
    return jobs, failures


def write_features(features: Features, path: Path) -> None:
    """One record per step; a single file, so that it is there whole or not at all."""
    sizes = [(name, getattr(features, name)) for name in ("frames", "actions", "state")]
    kind: DTypeLike = [(name, values.dtype.str, (values.shape[1],)) for name, values in sizes]
    table = np.zeros(len(features), dtype=kind)
    for name, values in sizes:
        table[name] = values
    # In memory first: on a full disk numpy's own writer fails with an error that does not say so
    buffer = io.BytesIO()
    np.save(buffer, table)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_features(path: Path) -> Features:
    """Memory-mapped.

    Raises:
        DataError: the file is missing or cut short.
    """
    kind, steps, offset = _header(path)
    with _told_when_broken(path):
        table = np.memmap(path, dtype=kind, mode="r", offset=offset, shape=(steps,))
        return Features(table["frames"], table["actions"], table["state"])


def _header(path: Path) -> tuple[np.dtype, int, int]:
    with _told_when_broken(path):
        with path.open("rb") as file:
            start = file.read(HEADER)
        return _layout(start[: start.index(b"\n") + 1])


@contextmanager
def _told_when_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path} is missing or broken: {error}.", fix="The next run makes it anew.") from None


@lru_cache(maxsize=4096)
def _layout(start: bytes) -> tuple[np.dtype, int, int]:
    """Record type, steps, and where they begin, from a file's header. Files of equal length share one, and parsing it
    is most of the time that opening takes."""
    stream = io.BytesIO(start)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    return kind, shape[0], len(start)


def check_sizes(store: FeatureStore, spec: ModelSpec, model: Path) -> None:
    """Refuse a pool that the model cannot look at; reads no more than the files' headers.

    Args:
        model: Its file, for the message.

    Raises:
        DataError: a trajectory has another number of values in a step than those that the model was trained on.
    """
    expected = {"frames": spec.frame_size, "actions": len(spec.action_names), "state": len(spec.state_names)}
    for trajectory_id, path in store.paths.items():
        kind = _header(path)[0]
        for name, size in expected.items():
            if (found := math.prod(kind[name].shape)) != size:
                raise DataError(
                    f"{trajectory_id}, {name}: {model} was trained on {size} values in every step, found {found}.",
                    fix="Pool only robots of the kind that it was trained on.",
                )


def is_complete(path: Path) -> bool:
    """The file is there and has the length that its header promises; a broken one is made again."""
    if not path.exists():
        return False
    try:
        read_features(path)
    except DataError:
        return False
    return True
