"""A release as an archive, and the check that it is still what was released.

Packing gives the same archive on every machine and every day: sorted members, no times, no owners. SHA256SUMS has the
format of `sha256sum`, so that a release can be checked without Robopref: `sha256sum --check SHA256SUMS`. Verifying
reads an archive as a stream and writes nothing of it to disk, so that a hostile one can do no harm; member names that
climb out of the release's folder, links and devices are reported as problems of their own. What an archive may make
this machine read, keep and print is limited by the constants below.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from preference.artifacts import sha256_of
from preference.errors import DataError

SUMS = "SHA256SUMS"
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""What `write_archive` begins with: no name, time 0, fastest compression, unknown system."""
_BLOCK = 1 << 20
MOST_FILES = 10_000
"""A release has some forty."""
MOST_EXPANSION, SMALL = 100, 256 << 20
"""A release is mostly weights, which gzip hardly makes smaller. It can make zeros 1,000 times smaller: an archive may
unpack to 100 times its size, or to 256 MB if that is more."""
MOST_HEADER = 64 << 10
"""Bytes of an extended header, which tarfile reads into memory; a name fits into one many times."""
SHOWN = 100
"""Problems that are listed, and characters of a name in them; more are counted."""


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
        for relative, path in files_of(folder).items():
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
        links = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_symlink()]
        problems = [f"{_shown(name)} is a link, which no release has." for name in sorted(links)]
        found = {name: sha256_of(file) for name, file in files_of(path).items() if name not in links}
        listed = None
        if found.pop(SUMS, None):
            with (path / SUMS).open("rb") as file:
                listed = _decoded_sums(file)
        return _compared(path, found, listed, problems=problems)
    if not path.is_file():
        raise DataError(f"File not found: {path}.", fix="Name a release's folder or its .tar.gz.")
    digest = sha256_of(path)
    problems = _outside_problems(path, digest)
    found, listed = {}, None
    try:
        for name, content in _members(path, problems):
            if name == SUMS:
                listed = _decoded_sums(content)
            else:
                found[name] = _hash(content)
    except Exception as error:  # tarfile lets many kinds out of a header that was made to confuse it
        problems.insert(0, f"The archive is damaged and cannot be read to its end: {_shown(str(error))}.")
    return _compared(path, found, listed, problems=problems, sha256=digest)


def check_folder(folder: Path) -> None:
    """
    Raises:
        DataError: it is no unpacked release, or not as it was released.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", fix="Unpack the release and name its folder.")
    if not (folder / SUMS).is_file():
        raise DataError(f"{folder} is not a release: it has no {SUMS}.", fix="Name the folder of an unpacked release.")
    found = verify_release(folder)
    if not found.ok:
        raise DataError(f"{folder} is not as it was released: {found.problems[0]}", fix="Unpack its archive again.")


def files_of(folder: Path) -> dict[str, Path]:
    """Relative name → file, sorted by name, without Python's caches."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found) if "__pycache__" not in name.split("/")}


def _sums_of(folder: Path) -> dict[str, str]:
    """Relative name → SHA-256."""
    return {name: sha256_of(path) for name, path in files_of(folder).items()}


def parse_sums(text: str) -> dict[str, str]:
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
    if len(sums) > MOST_FILES:
        raise ValueError(f"{SUMS} lists more than {MOST_FILES:,} files")
    return sums


def _outside_problems(path: Path, digest: str) -> list[str]:
    """What the checksums inside cannot see: the gzip header, and the whole archive's own checksum."""
    problems = []
    with path.open("rb") as file:
        if file.read(len(_GZIP_HEADER)) != _GZIP_HEADER:
            problems.append("The file does not begin like a release archive: damaged, or packed by another program.")
    beside = path.with_name(path.name + ".sha256")
    if beside.is_file():
        with beside.open("rb") as file:
            expected = file.read(64).decode("utf-8", "replace")
        if expected != digest:
            problems.append(f"The archive's SHA-256 is {digest}, but {beside.name} says {_shown(expected)}.")
    return problems


def _members(path: Path, problems: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """(name below the release's folder, content) of each regular file; everything else becomes a problem."""
    most = max(SMALL, MOST_EXPANSION * path.stat().st_size)
    with gzip.open(path, "rb") as unpacked:
        packed: Any = _Limited(unpacked, most)
        with tarfile.open(fileobj=packed, mode="r|", tarinfo=_Member) as tar:
            yield from _files_in(tar, problems)
        # tarfile stops at its end mark; gzip compares its own checksum only when read to the very end
        while block := packed.read(_BLOCK):
            if block.strip(b"\0"):
                problems.append("The archive holds more after its end.")
                return


def _files_in(tar: tarfile.TarFile, problems: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    roots: set[str] = set()
    seen: set[str] = set()
    for number, member in enumerate(tar):
        if number == MOST_FILES:
            raise tarfile.ReadError(f"it holds more than {MOST_FILES:,} files")
        parts = PurePosixPath(member.name).parts
        content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if content is None or member.name.startswith("/") or ".." in parts or "\\" in member.name or len(parts) < 2:
            said = "which is not a regular file inside the release"
            problems.append(f"The archive holds {_shown(member.name)!r}, {said}.")
            continue
        roots.add(parts[0])
        name = "/".join(parts[1:])
        if name in seen or len(roots) > 1:
            said = "twice, or outside the release's own folder"
            problems.append(f"The archive holds {_shown(member.name)!r} {said}.")
            continue
        seen.add(name)
        yield name, content


class _Limited:
    """A stream that ends in an error after `most` bytes."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._most, self._left = stream, most, most

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {self._most:,} bytes")
        return block


class _Member(tarfile.TarInfo):
    """A header, refused where tarfile would read an endless name or list of holes into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        found = super().frombuf(buf, encoding, errors)
        if found.type == tarfile.GNUTYPE_SPARSE:
            cls._proc_gnusparse_10()
        if found.type not in tarfile.REGULAR_TYPES and found.size > MOST_HEADER:
            raise tarfile.ReadError(f"it holds an extended header of {found.size:,} bytes")
        return found

    @staticmethod
    def _proc_gnusparse_10(*_: object) -> None:
        """Where tarfile learns of a sparse file from a pax header, and reads its list of holes."""
        raise tarfile.ReadError("it holds a sparse file, which no release has")


def _shown(text: str) -> str:
    """`text` as one short line without control characters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: SHOWN + 1])
    return safe if len(safe) <= SHOWN else safe[:SHOWN] + "…"


def _decoded_sums(content: IO[bytes]) -> str:
    return content.read(16 * _BLOCK).decode("utf-8", "replace")


def _hash(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _compared(
    path: Path, found: dict[str, str], listed: str | None, *, problems: list[str], sha256: str = ""
) -> VerifyResult:
    sums: dict[str, str] = {}
    if listed is None:
        problems.append(f"{SUMS} is missing: the release is incomplete.")
    else:
        try:
            sums = parse_sums(listed)
        except ValueError as error:
            listed = None
            problems.append(f"{error}.")
    for name in sorted(sums.keys() | found.keys()) if listed is not None else ():
        if name not in found:
            problems.append(f"{_shown(name)} is missing.")
        elif name not in sums:
            problems.append(f"{_shown(name)} was not released: {SUMS} does not list it.")
        elif found[name] != sums[name]:
            problems.append(f"{_shown(name)} was changed: its SHA-256 is {found[name]}, {SUMS} says {sums[name]}.")
    if (more := len(problems) - SHOWN) > 0:
        problems[SHOWN:] = [f"There are {more:,} more problems."]
    return VerifyResult(path, len(sums.keys() & found.keys()), problems, sha256)
