"""A release in (folder or archive), out whether every byte is as it was released.

An archive is read as a stream and nothing of it is written to disk, so that a hostile one can do no harm; member
names that climb out of the release's folder, links and devices are reported as problems of their own.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from ml_backend.release.archive import GZIP_HEADER, SUMS, files_of, parse_sums
from preference.artifacts import sha256_of
from preference.errors import DataError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class VerifyResult:
    """What was looked at, and what is wrong with it."""

    path: Path
    files: int
    """Files whose checksum was compared."""
    problems: list[str] = field(default_factory=list)
    """One sentence for each; empty = the release is whole."""
    sha256: str = ""
    """Of the archive; empty for a folder. Compare it with the one that was announced with the release."""

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_release(path: Path) -> VerifyResult:
    """Compare a release with its SHA256SUMS; and an archive with the .sha256 file beside it, where there is one.

    Raises:
        DataError: there is nothing at `path`.
    """
    if path.is_dir():
        return _verdict(path, *_folder_sums(path), problems=[])
    if not path.is_file():
        raise DataError(f"{path} does not exist.", fix="Name a release's folder or its .tar.gz.")
    digest = sha256_of(path)
    problems = _outside_problems(path, digest)
    found: dict[str, str] = {}
    listed: str | None = None
    try:
        for name, content in _members(path, problems):
            if name == SUMS:
                listed = content.read(16 * _BLOCK).decode("utf-8", "replace")
            else:
                found[name] = _hash(content)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        problems.append(f"The archive is damaged and cannot be read to its end: {error}.")
    return _verdict(path, found, listed, problems=problems, sha256=digest)


def _folder_sums(folder: Path) -> tuple[dict[str, str], str | None]:
    listed = folder / SUMS
    found = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files_of(folder) if path != listed}
    return found, listed.read_text("utf-8", "replace") if listed.is_file() else None


def _outside_problems(path: Path, digest: str) -> list[str]:
    """What the checksums inside cannot see: the gzip header, and the whole archive's own checksum."""
    problems = []
    with path.open("rb") as file:
        if file.read(len(GZIP_HEADER)) != GZIP_HEADER:
            problems.append("The file does not begin as a release archive does: damaged, or packed by something else.")
    beside = path.with_name(path.name + ".sha256")
    if beside.is_file() and (expected := beside.read_text("utf-8", "replace")[:64]) != digest:
        problems.append(f"The archive's SHA-256 is {digest}, but {beside.name} says {expected}.")
    return problems


def _members(path: Path, problems: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """(name below the release's folder, content) of each regular file; everything else becomes a problem."""
    roots: set[str] = set()
    seen: set[str] = set()
    with gzip.open(path, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or member.name.startswith("/") or ".." in parts or "\\" in member.name or len(parts) < 2:
                problems.append(f"The archive holds {member.name!r}, which is no plain file inside the release.")
                continue
            roots.add(parts[0])
            name = "/".join(parts[1:])
            if name in seen or len(roots) > 1:
                problems.append(f"The archive holds {member.name!r} twice, or beside the release's own folder.")
                continue
            seen.add(name)
            yield name, content
        # tarfile stops at its end mark; gzip compares its own checksum only when read to the very end
        while block := packed.read(_BLOCK):
            if block.strip(b"\0"):
                problems.append("The archive holds more after its end.")
                return


def _hash(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _verdict(
    path: Path, found: dict[str, str], listed: str | None, *, problems: list[str], sha256: str = ""
) -> VerifyResult:
    if listed is None:
        return VerifyResult(path, 0, [*problems, f"{SUMS} is missing: this is no complete release."], sha256)
    try:
        sums = parse_sums(listed)
    except ValueError as error:
        return VerifyResult(path, 0, [*problems, f"{error}."], sha256)
    for name in sorted(sums.keys() | found.keys()):
        if name not in found:
            problems.append(f"{name} is missing.")
        elif name not in sums:
            problems.append(f"{name} was not released: {SUMS} does not list it.")
        elif found[name] != sums[name]:
            problems.append(f"{name} was changed: its SHA-256 is {found[name]}, {SUMS} says {sums[name]}.")
    return VerifyResult(path, len(sums.keys() & found.keys()), problems, sha256)
