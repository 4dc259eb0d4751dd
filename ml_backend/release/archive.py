"""A release as an archive, and the check that it is still what was released.

Packing gives the same archive on every machine and every day: sorted members, no times, no owners. SHA256SUMS has the
format of `sha256sum`, so that a release can be checked without Robopref: `sha256sum --check SHA256SUMS`. Verifying
reads an archive as a stream and writes nothing of it to disk, so that a hostile one can do no harm; member names that
climb out of the release's folder, links and devices are reported as problems of their own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from preference.artifacts import sha256_of
from preference.errors import DataError

SUMS = "SHA256SUMS"
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""What `write_archive` begins with: no name, time 0, fastest compression, unknown system."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class VerifyResult:
    """What was looked at, and what is wrong with it."""

    path: Path
    files: int
    """Files whose checksum was compared."""
    problems: list[str] = field(default_factory=list)
    """One sentence for each; empty = the release is intact."""
    sha256: str = ""
    """Of the archive; empty for a folder. Compare it with the one that was announced with the release."""

    @property
    def ok(self) -> bool:
        return not self.problems


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every other file of `folder`."""
    (folder / SUMS).unlink(missing_ok=True)
    lines = [f"{digest}  {name}\n" for name, digest in _sums_of(folder).items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def write_archive(folder: Path, archive: Path, name: str) -> None:
    """`folder` as a gzip-compressed tar at `archive`, its members under `name/`.

    Compressed at level 1: nearly all of it is weights, which level 9 makes 4 % smaller in several times the time.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for relative, path in _files_of(folder).items():
            member = tarfile.TarInfo(f"{name}/{relative}")
            data = path.read_bytes()
            member.size, member.mode, member.mtime = len(data), 0o644, 0
            tar.addfile(member, io.BytesIO(data))


def verify_release(path: Path) -> VerifyResult:
    """Compare a release with its SHA256SUMS; and an archive with the .sha256 file beside it, where there is one.

    Raises:
        DataError: there is nothing at `path`.
    """
    if path.is_dir():
        found = _sums_of(path)
        listed = (path / SUMS).read_text("utf-8", "replace") if found.pop(SUMS, None) else None
        return _compared(path, found, listed, problems=[])
    if not path.is_file():
        raise DataError(f"File not found: {path}.", fix="Name a release's folder or its .tar.gz.")
    digest = sha256_of(path)
    problems = _outside_problems(path, digest)
    found, listed = {}, None
    try:
        for name, content in _members(path, problems):
            if name == SUMS:
                listed = content.read(16 * _BLOCK).decode("utf-8", "replace")
            else:
                found[name] = _hash(content)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        problems.append(f"The archive is damaged and cannot be read to its end: {error}.")
    return _compared(path, found, listed, problems=problems, sha256=digest)


def _files_of(folder: Path) -> dict[str, Path]:
    """Relative name → file, sorted by name, without Python's caches."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found) if "__pycache__" not in name.split("/")}


def _sums_of(folder: Path) -> dict[str, str]:
    """Relative name → SHA-256."""
    return {name: sha256_of(path) for name, path in _files_of(folder).items()}


def _parse_sums(text: str) -> dict[str, str]:
    """Relative name → SHA-256.

    Raises:
        ValueError: a line is not `HASH  NAME`.
    """
    sums: dict[str, str] = {}
    for line in text.splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
            raise ValueError(f"{SUMS} has a line that is not `SHA-256  NAME`: {line[:80]!r}")
        sums[name] = digest
    return sums


def _outside_problems(path: Path, digest: str) -> list[str]:
    """What the checksums inside cannot see: the gzip header, and the whole archive's own checksum."""
    problems = []
    with path.open("rb") as file:
        if file.read(len(_GZIP_HEADER)) != _GZIP_HEADER:
            problems.append("The file does not begin like a release archive: damaged, or packed by another program.")
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
                problems.append(f"The archive holds {member.name!r}, which is not a regular file inside the release.")
                continue
            roots.add(parts[0])
            name = "/".join(parts[1:])
            if name in seen or len(roots) > 1:
                problems.append(f"The archive holds {member.name!r} twice, or outside the release's own folder.")
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


def _compared(
    path: Path, found: dict[str, str], listed: str | None, *, problems: list[str], sha256: str = ""
) -> VerifyResult:
    if listed is None:
        return VerifyResult(path, 0, [*problems, f"{SUMS} is missing: the release is incomplete."], sha256)
    try:
        sums = _parse_sums(listed)
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
