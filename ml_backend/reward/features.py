"""What the reward model sees of a trajectory: features of its frames, its actions and its state.

`Features` is one trajectory in memory, `write_features` and `read_features` are its file, `FeatureFiles` a list of
such files that are read when asked for. A segment is some steps of a trajectory under an id of its own, such as
`demo-7[20:69]` (steps 20 to 69, both included): `segment_features` gives views of trajectories, which are compared and
trained on as trajectories are. `collate` pads a batch, `fit_normalization` measures what the model subtracts and scales
by. Pure numpy.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, overload

import numpy as np

from ml_backend.reward.projection import fit_projection
from preference.artifacts import replacing
from preference.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

HEADER = 1024
"""Bytes within which a file's header ends."""
PARTS = ("frames", "actions", "state")
FITTED_FRAMES = 20_000
"""Frames that their projection is fitted on, of whole trajectories."""


@dataclass(frozen=True)
class Features:
    """One trajectory, sampled: T steps at `reward.sample_fps`, fewer per second where the span exceeds `max_frames`.

    Actions and state are those of the sampled rows themselves, not means over the time between: so a released model
    takes any frame with its action, and needs no rows that it does not look at.
    """

    frames: np.ndarray
    """(T, D) float16, of all cameras side by side, nan where one is missing; D = 0 where the model does not look at
    frames."""
    actions: np.ndarray
    """(T, A) float32, as recorded."""
    state: np.ndarray
    """(T, S) float32, as recorded; S may be 0. Of pools with several tasks and robots see `layout`."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class FeatureFiles(Sequence[Features]):
    """Not a list of `Features`: each open file takes a handle, and a system gives about a thousand."""

    paths: Sequence[Path]

    @overload
    def __getitem__(self, index: int) -> Features: ...
    @overload
    def __getitem__(self, index: slice) -> FeatureFiles: ...
    def __getitem__(self, index: int | slice) -> Features | FeatureFiles:
        return FeatureFiles(self.paths[index]) if isinstance(index, slice) else read_features(self.paths[index])

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Segment:
    """Steps `first` to `last` of a trajectory, both included."""

    trajectory_id: str
    first: int
    last: int

    @property
    def segment_id(self) -> str:
        """Its name in a list of ids."""
        return f"{self.trajectory_id}[{self.first}:{self.last}]"


@dataclass(frozen=True)
class FeatureViews(Sequence[Features]):
    """Trajectories and pieces of them; each is read when asked for."""

    whole: Sequence[Features]
    views: Sequence[tuple[int, int, int]]
    """Row in `whole`, first step, and one more than the last."""

    @overload
    def __getitem__(self, index: int) -> Features: ...
    @overload
    def __getitem__(self, index: slice) -> FeatureViews: ...
    def __getitem__(self, index: int | slice) -> Features | FeatureViews:
        if isinstance(index, slice):
            return FeatureViews(self.whole, self.views[index])
        row, first, end = self.views[index]
        item = self.whole[row]
        return Features(item.frames[first:end], item.actions[first:end], item.state[first:end])

    def __len__(self) -> int:
        return len(self.views)


@dataclass(frozen=True)
class Normalization:
    """What the model subtracts and multiplies with, measured on the training pool."""

    frame_mean: np.ndarray
    """(D,) float32."""
    frame_projection: np.ndarray
    """(D, P) float32, of `projection.fit_projection`."""
    action_mean: np.ndarray
    """(A,) float32."""
    action_scale: np.ndarray
    """(A,) float32: 1 / standard deviation; 0 for a constant column, which tells nothing."""
    state_mean: np.ndarray
    """(S,) float32."""
    state_scale: np.ndarray
    """(S,) float32."""


def write_features(features: Features, path: Path) -> None:
    """One record per step; a single file, so that it is there whole or not at all."""
    sizes = [(name, getattr(features, name)) for name in PARTS]
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
        DataError: the file is missing or truncated.
    """
    with _named_when_broken(path), path.open("rb") as file:
        kind, steps, offset = _header(file)
        table = np.memmap(file, dtype=kind, mode="r", offset=offset, shape=(steps,))
        return Features(table["frames"], table["actions"], table["state"])


def recorded_sizes(path: Path) -> dict[str, int]:
    """Values per step of frames, actions and state; reads no more than the file's header.

    Raises:
        DataError: the file is missing, broken, or not as long as its header promises.
    """
    with _named_when_broken(path), path.open("rb") as file:
        kind, steps, offset = _header(file)
        if os.fstat(file.fileno()).st_size < offset + steps * kind.itemsize:
            raise ValueError("it is cut short")
        return {name: math.prod(kind[name].shape) for name in PARTS}


def segment_features(features: Sequence[Features], ids: Sequence[str], segments: Sequence[Segment]) -> FeatureViews:
    """A view for each of `segments`, in their order.

    Args:
        features: Of the trajectories `ids`, in the same order.

    Raises:
        DataError: a segment's trajectory is not here, or the segment reaches beyond it.
    """
    place = {name: row for row, name in enumerate(ids)}
    lengths: dict[int, int] = {}
    views = []
    for segment in segments:
        row = place.get(segment.trajectory_id)
        if row is None:
            raise DataError(
                f"Segment {segment.segment_id}: there is no trajectory {segment.trajectory_id!r} among the {len(ids)}.",
                fix="Name trajectories as manifest.csv does.",
            )
        if row not in lengths:
            lengths[row] = len(features[row])
        if not 0 <= segment.first <= segment.last < lengths[row]:
            raise DataError(
                f"Segment {segment.segment_id}: expected steps within 0 to {lengths[row] - 1}, the first not after the "
                f"last; found {segment.first} to {segment.last}.",
                fix="Count steps as the features do, from 0.",
            )
        views.append((row, segment.first, segment.last + 1))
    return FeatureViews(features, views)


def collate(features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames (B, T, D), actions (B, T, A) and state (B, T, S), all float32 and padded with zeros, and mask (B, T)."""
    features = list(features)
    longest = max(len(item) for item in features)
    mask = np.zeros((len(features), longest), dtype=bool)
    padded = []
    for name in ("frames", "actions", "state"):
        size = getattr(features[0], name).shape[1]
        out = np.zeros((len(features), longest, size), dtype=np.float32)
        for row, item in enumerate(features):
            out[row, : len(item)] = getattr(item, name)
        padded.append(out)
    for row, item in enumerate(features):
        mask[row, : len(item)] = True
    return padded[0], padded[1], padded[2], mask


def fit_normalization(
    features: Sequence[Features], projection: int, rng: np.random.Generator, views: int = 1
) -> Normalization:
    """Means, scales and the frames' projection, over the steps of the pool; no label is looked at.

    Args:
        projection: P, how many features of a frame are kept, of all views together.
        rng: Draws the trajectories that it is fitted on, where the pool has more than enough.
        views: Each has its own.
    """
    # copies: a view would keep its file open
    both = [(np.array(item.actions), np.array(item.state)) for item in features]
    action_mean, action_scale = _standardization([actions for actions, _ in both])
    state_mean, state_scale = _standardization([state for _, state in both])
    frame_mean, directions = fit_projection(*_some_frames(features, rng), projection, views)
    return Normalization(frame_mean, directions, action_mean, action_scale, state_mean, state_scale)


def check_features(
    features: Sequence[Features], names: Sequence[str], sizes: Mapping[str, int], inputs: Sequence[str]
) -> None:
    """Refuse what nothing can be learned from, before anything is.

    Args:
        names: trajectory_id of each, for the message.
        sizes: Values per step that frames, actions and state should have.
        inputs: Which of these the model uses.

    Raises:
        DataError: trajectories differ in their number of values, hold nan or infinity, have no step, or an input that
            the model uses is the same in every step of every trajectory.
    """
    low, high = {}, {}
    for item, trajectory in zip(features, names, strict=True):
        if not len(item):
            raise DataError(f"{trajectory}: it has no steps.", fix="Leave it out of the pool.")
        for name, size in sizes.items():
            if (found := getattr(item, name).shape[1]) != size:
                raise DataError(
                    f"{trajectory}, {name}: expected {size} values in every step, as {names[0]} has; found {found}.",
                    fix="Pool only robots of one kind.",
                )
        for name in inputs:
            # ten times faster than looking for the extremes of half-precision values
            values = np.asarray(getattr(item, name), dtype=np.float32)
            least, most = values.min(axis=0), values.max(axis=0)
            # a column that is missing as a whole is another robot's, or a view's that this trajectory does not have
            gone = np.isnan(values[0]) & np.isnan(values).all(axis=0)
            least, most = np.where(gone, np.inf, least), np.where(gone, -np.inf, most)
            if not (np.isfinite(least) | gone).all() or not (np.isfinite(most) | gone).all():
                raise DataError(
                    f"{trajectory}, {name}: holds nan or infinity.", fix="Correct the dataset, or leave it out."
                )
            low[name] = np.minimum(low.get(name, least), least)
            high[name] = np.maximum(high.get(name, most), most)
    for name in inputs:
        if sizes[name] and (low[name] >= high[name]).all():
            raise DataError(
                f"{name}: the same in every step of all {len(features)} trajectories.",
                fix=f"See what the dataset holds there, or leave {name} out of reward.inputs.",
            )


def _some_frames(features: Sequence[Features], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) float32 of whole trajectories, and how many each has; only those are read from the disk.

    Whole ones, since what is slow shows only in frames that follow each other.
    """
    lengths = np.array([len(item) for item in features])
    drawn = np.arange(len(features))
    if lengths.sum() > FITTED_FRAMES:
        order = rng.permutation(len(features))
        drawn = np.sort(order[: max(1, np.searchsorted(np.cumsum(lengths[order]), FITTED_FRAMES, side="right"))])
    return np.concatenate([features[i].frames for i in drawn.tolist()]).astype(np.float32), lengths[drawn]


def _standardization(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate(parts).astype(np.float64)
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(axis=0) / count)
    constant = sd <= 1e-6 * np.maximum(1.0, np.abs(mean))
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, sd))
    return mean.astype(np.float32), scale.astype(np.float32)


def _header(file: BinaryIO) -> tuple[np.dtype, int, int]:
    start = file.read(HEADER)
    return _layout(start[: start.index(b"\n") + 1])


@contextmanager
def _named_when_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path} is missing or broken: {error}.", fix="The next run recreates it.") from None


@lru_cache(maxsize=4096)
def _layout(start: bytes) -> tuple[np.dtype, int, int]:
    """Record type, steps and where they begin, from a file's header. Files of equal length share one, and parsing it
    is most of the time that opening takes."""
    stream = io.BytesIO(start)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    return kind, shape[0], len(start)
