"""The wall around files from outside: what they may ask of this machine, and where they may lead.

A dataset comes from people one does not know: a few bytes can claim terabytes, and a link can name any file of the
host. The limits here are far above what recordings of robots hold. What they miss meets `guarded`, which turns
whatever goes wrong while a file is read into one line about that file.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from importer.pool.episode import BadInput
from preference.artifacts import MOST_TEXT, confined
from preference.errors import UserError

MOST_ROWS = 4_000_000
"""An hour at 1 kHz has 3.6 million."""
LONGEST_S = 3600.0
"""Seconds of an episode: people watch it to its end, and the shorter clip of a pair waits for the longer one."""
MOST_BYTES = 2 << 30
"""Numbers in memory at once: the columns of an episode as float64, or one group of a parquet file."""
MOST_PIXELS = 4096 * 4096
"""Of one frame; 4K video has half as many."""
MOST_COLUMNS = 10_000
"""Of a table."""
LARGEST = 1e18
"""Of a number: time stamps in nanoseconds fit, and its square is still a float32."""
LONGEST_TEXT = 1000
"""Characters of a label."""
READING_BYTES = 4 << 30
"""What reading one episode may add to this process's memory before the system refuses more."""
LAST_INDEX = 2**31 - 1
"""Of an episode: the database's integers end there."""


def check_array(rows: int, width: int, file: Path, field: str) -> None:
    """Called before the numbers are read.

    Raises:
        BadInput: T = `rows` or T x `width` float64 are more than an episode can have.
    """
    if rows > MOST_ROWS:
        raise BadInput(file, field, f"expected at most {MOST_ROWS:,} rows, found {rows:,}")
    if rows * width * 8 > MOST_BYTES:
        raise BadInput(file, field, f"expected at most {MOST_BYTES >> 30} GiB of numbers, found {rows:,} x {width:,}")


def check_pixels(width: int, height: int, file: Path, field: str) -> None:
    """
    Raises:
        BadInput: a frame of that size is more than `MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise BadInput(file, field, f"expected at most {MOST_PIXELS:,} pixels a frame, found {width}x{height}")


def caches_of(root: Path) -> list[Path]:
    """Where links may lead: a repository's folder in the Hugging Face cache has links in `snapshots/REVISION`, and what
    they name in `blobs`. The dataset may be a folder inside the revision."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots":
            blobs = folder.parent.parent / "blobs"
            return [] if blobs.is_symlink() else [blobs]
    return []


def check_inside(file: Path, root: Path) -> None:
    """`file` lies in the dataset's folder, links resolved, and is an ordinary file where it exists.

    Raises:
        BadInput: it leads elsewhere, or is a pipe or a device.
    """
    try:
        str(file).encode()
        found = confined(root, file.relative_to(root), *caches_of(root))
    except UnicodeEncodeError:
        raise BadInput(file, "", "expected a name in UTF-8", fix="Rename it.") from None
    except UserError:
        raise BadInput(file, "", f"the link leads out of the dataset {root}", fix="Copy the file there.") from None
    except (OSError, RuntimeError) as error:
        raise BadInput(file, "", f"the link leads nowhere: {error}") from None
    check_ordinary(found)


def check_ordinary(file: Path) -> None:
    """
    Raises:
        BadInput: the file is a pipe, which nobody may ever write to, or a folder or device.
    """
    if file.exists() and not file.is_file():
        raise BadInput(file, "", "expected a regular file")


def read_text(file: Path, root: Path) -> str:
    """The text of one of a dataset's own files.

    Raises:
        FileNotFoundError: it is missing.
        BadInput: it is not UTF-8, too large, or leads out of the dataset.
    """
    check_inside(file, root)
    try:
        if (size := file.stat().st_size) > MOST_TEXT:
            raise BadInput(file, "", f"expected at most {MOST_TEXT:,} bytes, found {size:,}")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise BadInput(file, "", f"cannot be read: {error}") from None


def parse_json(text: str | bytes, file: Path, field: str = "") -> Any:
    """
    Raises:
        BadInput: it is not JSON, or nested more deeply than Python reads.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(file, field, f"cannot be read as JSON: {error}") from None


@contextmanager
def guarded(file: Path) -> Iterator[None]:
    """Reading inside gets at most `READING_BYTES` more memory (on Linux), and ends well or with a `BadInput`.

    Readers report what they know to go wrong. A file that was made to do harm, or whose bytes are damaged, finds more
    ways through numpy, h5py, pyarrow and FFmpeg than can be listed; the cause stays attached to the error.

    Raises:
        BadInput: naming `file`, with the kind of any exception that is not one already.
    """
    try:
        with _less_memory():
            yield
    except UserError:
        raise
    except MemoryError as error:
        raise BadInput(file, "", f"reading it takes more than {READING_BYTES >> 30} GiB of memory") from error
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(file, "", f"it is damaged or not what it says it is ({said})") from error


@contextmanager
def _less_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + READING_BYTES
    if limit == READING_BYTES or (before[0] != resource.RLIM_INFINITY and before[0] <= limit):
        yield  # not Linux, or somebody set a tighter one
        return
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA so far; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def printable(text: str) -> str:
    """`text` as one line of at most `LONGEST_TEXT` characters that every terminal, file and database takes."""
    shown = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 1] + "…"
