"""What the reward model sees of a trajectory: features of its frames, its actions and its state.

`Features` is one trajectory in memory, `write_features` and `read_features` are its file, `FeatureFiles` a list of
such files that are read when asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from preference.artifacts import replacing
from preference.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

HEADER = 1024
"""Bytes within which a file's header ends."""
PARTS = ("frames", "actions", "state")


@dataclass(frozen=True)
class Features:
    """One trajectory, sampled: T steps at `reward.sample_fps`, fewer per second where the span exceeds `max_frames`.

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
    kind, steps, offset = _header(path)
    with _named_when_broken(path):
        table = np.memmap(path, dtype=kind, mode="r", offset=offset, shape=(steps,))
        return Features(table["frames"], table["actions"], table["state"])


def is_complete(path: Path) -> bool:
    """Whether the file is there and as long as its header promises."""
    if not path.exists():
        return False
    try:
        read_features(path)
    except DataError:
        return False
    return True


def check_sizes(paths: Mapping[str, Path], sizes: Mapping[str, int], model: Path) -> None:
    """Refuse a pool that the model cannot look at; reads no more than the files' headers.

    Args:
        paths: trajectory_id → file.
        sizes: Values per step of frames, actions and state, as the model was trained on.
        model: Its file, for the message.

    Raises:
        DataError: a trajectory has another number of values per step.
    """
    for trajectory_id, path in paths.items():
        kind = _header(path)[0]
        for name, size in sizes.items():
            if (found := math.prod(kind[name].shape)) != size:
                raise DataError(
                    f"{trajectory_id}, {name}: {model} was trained on {size} values in every step, found {found}.",
                    fix="Pool only robots of the kind that it was trained on.",
                )


def _header(path: Path) -> tuple[np.dtype, int, int]:
    with _named_when_broken(path):
        with path.open("rb") as file:
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
