"""An archive that was made to do harm is told in a few lines, with little memory and in seconds."""

import gzip
import io
import subprocess
import sys
import tarfile

import pytest

from release.archive import MOST_FILES, SMALL, verify_release, write_archive, write_sums

MEMORY = 128 << 20
"""Bytes that verifying may take beside what Python and its packages take."""
VERIFY = """
import resource, sys
from pathlib import Path
from release.archive import verify_release
taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (taken + int(sys.argv[2]),) * 2)
print(*verify_release(Path(sys.argv[1])).problems, sep="\\n")
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "robopref-x-1.0.0"
    folder.mkdir()
    (folder / "preferences.jsonl").write_text('{"pair_id": "p"}\n')
    write_sums(folder)
    return folder


def packed(path, fill):
    """A gzip-compressed tar at `path`, filled by `fill(tar)`."""
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        fill(tar)
    return path


def add(tar, name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def endless_name(tar):
    add(tar, "r/" + "x" * (20 << 20))


def many_names(tar):
    for number in range(MOST_FILES + 100):
        add(tar, f"../{number:06d}{'x' * 60}")


def many_changed(tar):
    for number in range(MOST_FILES - 1):
        add(tar, f"r/{number:06d}" + "x" * 60)
    add(tar, "r/SHA256SUMS", b"".join(b"0" * 64 + f"  {n:06d}".encode() + b"y" * 60 + b"\n" for n in range(9000)))


def zeros(tar):
    """More than `SMALL` in a few kilobytes."""

    class Zeros(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    member = tarfile.TarInfo("r/weights")
    member.size = SMALL + (1 << 20)
    tar.addfile(member, Zeros())


def sparse(tar):
    """A file of an exabyte, all of it one hole."""
    add(tar, "r/hole", type=tarfile.GNUTYPE_SPARSE)


def sparse_by_header(tar):
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**60)}
    add(tar, "r/hole", b"1\n" * (64 << 20), pax_headers=headers)


def headers_of_headers(tar):
    """A header that says something of a header, thousands deep."""
    for _ in range(5000):
        add(tar, "r/x", b"11 path=r/y\n", type=tarfile.XHDTYPE)
    add(tar, "r/z")


def long_sums(tar):
    add(tar, "r/SHA256SUMS", (b"0" * 64 + b"  " + b"x" * 1000 + b"\n") * 30_000)


def escape(tar):
    add(tar, "r/\x1b[2J\x1b]0;owned\x07.txt")
    add(tar, "r/SHA256SUMS", b"")


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (endless_name, "extended header of 20,971,"),
        (many_names, f"it holds more than {MOST_FILES:,} files"),
        (many_changed, "more problems"),
        (zeros, "it unpacks to more than 268,435,456 bytes"),
        (sparse, "it holds a sparse file"),
        (sparse_by_header, "it holds a sparse file"),
        (headers_of_headers, "damaged and cannot be read to its end"),
        (long_sums, "xxx… is missing"),
        (escape, r"\x1b[2J"),
    ],
)
def test_a_hostile_archive_costs_little_memory_time_and_output(tmp_path, fill, said):
    path = packed(tmp_path / "r.tar.gz", fill)
    run = subprocess.run(
        [sys.executable, "-c", VERIFY, str(path), str(MEMORY)], capture_output=True, timeout=60, check=False
    )
    assert said.encode() in run.stdout, (run.stdout + run.stderr)[-2000:]
    assert len(run.stdout) < 30_000 and b"\x1b" not in run.stdout and not run.stderr


def test_a_link_in_a_release_is_a_problem_and_is_not_followed(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (folder / "extra.txt").symlink_to(tmp_path / "secret")
    assert verify_release(folder).problems == ["extra.txt is a link, which no release has."]


def test_long_names_that_a_release_may_have_are_no_problem(folder, tmp_path):
    (folder / ("ü" * 100)).write_text("x")
    write_sums(folder)
    write_archive(folder, tmp_path / "r.tar.gz", folder.name)
    assert verify_release(tmp_path / "r.tar.gz").ok
