"""The arrays of an npz file, each looked at before it is read: a zip of .npy files, whose headers claim shapes.

numpy would make an array of whatever size a header claims, and unpack members that nobody asked for.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool.episode import BadInput
from importer.pool.mapping import Column
from importer.pool.outside import MOST_COLUMNS, check_array
from importer.pool.rows import Load

UNREADABLE = (EOFError, KeyError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What zipfile and numpy say of a file that is none of theirs; an encrypted member is a RuntimeError."""
Header = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type as a member claims them."""


def open_npz(file: Path) -> tuple[dict[str, Column], Load]:
    """The columns of an npz file, and how to load one; arrays that no episode can have are no columns.

    Raises:
        BadInput: it cannot be read.
    """
    headers: dict[str, Header] = {}
    with _told(file, ""), zipfile.ZipFile(file) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if len(members) > MOST_COLUMNS:
            raise BadInput(file, "", f"expected at most {MOST_COLUMNS:,} arrays, found {len(members):,}")
        for name in members:
            with _told(file, name):
                headers[name] = _header(archive, f"{name}.npy")

    def load(name: str) -> np.ndarray | None:
        if name not in headers:
            return None
        _check(headers[name], file, name)
        with _told(file, name), zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            return array.reshape(len(array), -1).astype(np.float64) if array.size else np.empty((len(array), 0))

    columns = {}
    for name, (shape, kind) in headers.items():
        with suppress(BadInput):
            columns[name] = Column(name, str(kind), _check((shape, kind), file, name))
    return columns, load


def _check(header: Header, file: Path, name: str) -> int:
    """Numbers in one row.

    Raises:
        BadInput: the member claims what no episode can have.
    """
    shape, kind = header
    if kind.kind not in "fiub" or not shape:
        raise BadInput(file, name, f"expected numbers in T rows, found {kind} {shape}")
    width = int(np.prod(shape[1:], dtype=object))
    check_array(shape[0], width, file, name)
    return width


def _header(archive: zipfile.ZipFile, member: str) -> Header:
    """
    Raises:
        ValueError: the member is not a plain array.
    """
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, kind = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"version {version}")  # 3.0 differs in the names of fields, which no plain array has
    return shape, kind


@contextmanager
def _told(file: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(file, name, f"cannot be read as npz: {error.strerror or error}") from None
    except UNREADABLE:
        why = "it is damaged, not an npz file, or holds something other than numbers"
        raise BadInput(file, name, f"cannot be read as npz: {why}") from None
