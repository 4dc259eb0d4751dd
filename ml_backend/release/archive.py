"""A folder in, the same archive out on every machine and every day: sorted members, no times, no owners.

SHA256SUMS has the format of `sha256sum`, so that a release can be checked without Robopref:
`sha256sum --check SHA256SUMS`.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from preference.artifacts import sha256_of

SUMS = "SHA256SUMS"
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""What `write_archive` begins with: no name, time 0, fastest compression, unknown system."""


def files_of(folder: Path) -> list[Path]:
    """Every file under `folder`, in the order of their relative names, Python's caches aside."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return [found[name] for name in sorted(found) if "__pycache__" not in name.split("/")]


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every other file of `folder`."""
    others = [path for path in files_of(folder) if path != folder / SUMS]
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in others]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


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
    return sums


def write_archive(folder: Path, archive: Path, name: str) -> None:
    """`folder` as a gzip-compressed tar at `archive`, its members under `name/`.

    Compressed at level 1: nearly all of it is weights, which level 9 makes 4 % smaller in several times the time.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files_of(folder):
            member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            data = path.read_bytes()
            member.size, member.mode, member.mtime = len(data), 0o644, 0
            tar.addfile(member, io.BytesIO(data))
