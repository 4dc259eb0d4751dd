"""Which clips are finished, and from what: clips/index.jsonl, one line for each rendered clip.

A line is added when a clip is complete, so a killed run loses none; the newest line of a trajectory counts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from importer.pool.episode import BadInput
from importer.pool.outside import check_ordinary
from preference.artifacts import sha256_of, told_when_full

ENDS = 65536
"""Bytes read at both ends of a source file: any change of content changes an mp4's index or a parquet file's footer."""
LEFTOVER_S = 3600.0


@dataclass(frozen=True)
class Entry:
    """One finished clip."""

    trajectory_id: str
    key: str
    """Hash of everything that the picture depends on."""
    sha256: str
    size: int

    @classmethod
    def of(cls, trajectory_id: str, key: str, path: Path) -> Entry:
        return cls(trajectory_id, key, sha256_of(path), path.stat().st_size)


class ClipIndex:
    """The finished clips of a folder, which is created if necessary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "index.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        self.entries = _read(self.path)

    def has(self, trajectory_id: str, key: str) -> bool:
        """Whether the clip is complete and was made from what `key` stands for."""
        entry = self.entries.get(trajectory_id)
        if entry is None or entry.key != key:
            return False
        try:
            return (self.folder / f"{trajectory_id}.mp4").stat().st_size == entry.size
        except OSError:
            return False

    def add(self, entry: Entry) -> None:
        self.entries[entry.trajectory_id] = entry
        with told_when_full(self.path), self.path.open("a", encoding="utf-8") as file:
            # the line break comes first: it ends a line that a kill cut short
            file.write("\n" + json.dumps(asdict(entry)))


def content_key(files: Sequence[Path], *parts: Any) -> str:
    """A hash of the files' content and of `parts`.

    Raises:
        BadInput: a file is missing, or a pipe or device.
    """
    for file in files:
        check_ordinary(file)
    prints = [_fingerprint(file, *_stamp(file)) for file in files]
    return hashlib.sha256(json.dumps([prints, parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        raise BadInput(file, "", "the file is missing") from None
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4096)
def _fingerprint(file: Path, size: int, _mtime_ns: int) -> str:
    """Size and both ends: time stamps change when a dataset is copied, and hashing whole videos takes minutes."""
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(ENDS))
        stream.seek(max(0, size - ENDS))
        digest.update(stream.read(ENDS))
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    if not path.exists():
        return entries
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut short by a kill: that clip is rendered again
        entries[entry.trajectory_id] = entry
    return entries


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind; recent folders may belong to another run."""
    for leftover in folder.glob(".*.mp4.*"):
        if leftover.is_dir() and time.time() - leftover.stat().st_mtime > LEFTOVER_S:
            shutil.rmtree(leftover, ignore_errors=True)
