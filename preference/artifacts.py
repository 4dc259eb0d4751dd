"""Files as every stage writes and reads them: JSON, JSON Lines, CSV and checksums.

A file appears only when it is complete, however the run ends. In JSON, a number that is not finite is null.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.errors import DataError, DiskFull, UserError

if TYPE_CHECKING:
    import pandas as pd

_SKIPPED = r'[\s"\x00-\x1f\u200b-\u200f\u2060\ufeff]*'
_FORMULA = re.compile(rf"(?<![^;\t\n])(?={_SKIPPED}[=+\-@＝＋－＠])|\A(?=[\t\n])")
"""Where a spreadsheet would begin a formula: at the beginning of a cell, whatever it skips before one, and, as it may
split cells elsewhere than we do, after each `;`, tab or new line. Some versions of Excel take the wide signs too."""
LOST_FOUND = "lost+found"
"""A folder that ext4 keeps for root at the top of each disk; a work folder may be one."""
MOST_TEXT = 512 << 20
"""Bytes of a text file that are read: preferences of a million pairs take 300 MB, and a table takes several times its
file in memory."""


def plain(value: Any) -> Any:
    """Records, paths and collections as JSON knows them; nan and infinity become None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key if isinstance(key, (str, int)) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def to_json(value: Any, *, sort_keys: bool = False) -> str:
    """Indented JSON that ends in a newline."""
    return json.dumps(plain(value), indent=2, sort_keys=sort_keys, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any, *, sort_keys: bool = False, private: bool = False) -> None:
    """
    Args:
        private: For its owner's eyes only (mode 0600).
    """
    with replacing(path) as temporary:
        temporary.touch(mode=0o600 if private else 0o666)
        temporary.write_text(to_json(value, sort_keys=sort_keys), encoding="utf-8")


def read_json(path: Path, *, fix: str = "") -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    return _decoded(path, _text_of(path, fix), "", fix)


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path, *, fix: str = "") -> list[Any]:
    """The objects of a JSON Lines file; empty lines are skipped.

    Raises:
        DataError: the file is missing, or a line is not JSON.
    """
    lines = enumerate(_text_of(path, fix).rstrip("\n").split("\n"), start=1)
    return [_decoded(path, line, f", line {number}", fix) for number, line in lines if line.strip()]


def write_csv(path: Path, table: pd.DataFrame, *, float_format: str | None = None) -> None:
    """Missing values become empty cells, booleans `true` and `false`. In texts and names of columns, what a spreadsheet
    would take for a formula becomes text (`no_formula`)."""
    logical = table.select_dtypes(["bool", "boolean"])
    words: dict[str, Any] = {str(name): logical[name].astype("string").str.lower() for name in logical}
    texts = table.select_dtypes(["object", "string", "category"])
    words |= {str(name): texts[name].astype("object").map(no_formula) for name in texts}
    safe = table.assign(**words).rename(columns=no_formula)
    with replacing(path) as temporary:
        safe.to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")


def no_formula(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, wherever it splits the line: with a `'` where one would begin,
    which Excel does not show at the beginning of a cell. Numbers, as numbers or as text, stay as they are.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # the csv module leaves \r unquoted: it would end the row
    try:
        float(cell)
    except ValueError:
        return _FORMULA.sub("'", cell)
    return cell


def read_csv(path: Path, *, fix: str = "") -> pd.DataFrame:
    """A table of text; empty and missing cells are "". An empty file has no columns.

    Raises:
        DataError: the file is missing or is not CSV.
    """
    import pandas as pd

    try:
        return pd.read_csv(StringIO(_text_of(path, fix)), dtype=str, keep_default_na=False, index_col=False).fillna("")
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except ValueError as error:
        raise DataError(f"{path} is not CSV: {error}.", fix=fix) from None


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(path: Path, what: str, *, whole: Path | None = None) -> None:
    """Before anything is written to a file or below a folder, such as a volume that another user made.

    Args:
        what: Its name at the beginning of a sentence.
        whole: The folder that would have to change its owner, if that is more than `path`.

    Raises:
        UserError: this user may not write there.
    """
    access, mode, letters = os.W_OK, stat.S_IWUSR, "w"
    if path.is_dir():
        access, mode, letters = access | os.X_OK, mode | stat.S_IXUSR, "wx"
    if os.access(path, access, effective_ids=os.access in os.supports_effective_ids):
        return
    there, own = path.stat(), os.geteuid()
    if (owner := there.st_uid) == own:
        mounted = there.st_mode & mode == mode
        fix = "Mount it so that it can be written to." if mounted else f"Allow it: chmod u+{letters} {path}"
        raise UserError(f"{what} {path} is read-only.", fix=fix)
    fix = f"Give it to that user (chown --recursive {own} {whole or path}), or run this as its owner."
    raise UserError(f"{what} {path} belongs to user {owner}, and this runs as user {own}, who may not write.", fix=fix)


def keep_private(path: Path) -> None:
    """Nobody but its owner may read `path`, which may have been made before this was so; missing is fine, and so is a
    file of somebody else."""
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(mode & 0o700)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and is removed when it does not.

    So a file, or a folder made at the temporary path, exists only when it is complete, whenever the run is killed.

    Raises:
        DiskFull: there is no space for it.
    """
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.parent / f".{path.name}.{secrets.token_hex(8)}"  # a name first: no Ctrl-C can fall in between
        try:
            holder.mkdir(mode=0o700)
            temporary = holder / path.name
            yield temporary
            if temporary.is_dir() and path.is_dir():
                path.rename(holder / f"{path.name}.old")
            os.replace(temporary, path)
        finally:
            try:
                shutil.rmtree(holder, ignore_errors=True)
            except BaseException:  # Ctrl-C in the middle of it
                shutil.rmtree(holder, ignore_errors=True)
                raise


def contents(folder: Path) -> list[Path]:
    """What was put into a folder, which may be a disk's mount point."""
    return [path for path in folder.iterdir() if path.name != LOST_FOUND]


def fill(folder: Path, source: Path) -> None:
    """Give `folder` the contents of the folder `source`, in the place of its own; `source` is used up.

    `folder` itself stays: it may be a mount point, which cannot be renamed; a `lost+found` in it stays too. What comes
    is first moved beside what is there, on the same file system; then the two change places. Killed in between, it is
    to be done again.

    Raises:
        DiskFull: there is no space for it.
    """
    with told_when_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        old = contents(folder)
        arriving = folder / f".{secrets.token_hex(8)}"
        try:
            shutil.move(source, arriving)
            for path in old:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            for path in list(arriving.iterdir()):
                path.rename(folder / path.name)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """A full disk or an exhausted quota, met while `path` is written, becomes a `DiskFull`.

    Raises:
        DiskFull: there is no space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"No space left on the disk for {path}.", fix="Free some and run again.") from None
        raise


def confined(root: Path, relative: str | Path, *links: Path) -> Path:
    """`root / relative`, resolved; an error where that leaves `root`.

    Args:
        links: Folders outside `root` that a link inside it may lead to.

    Raises:
        UserError: the path is absolute, or climbs out by `..` or by a link.
    """
    resolved = (root / relative).resolve()
    climbs = Path(relative).is_absolute() or ".." in Path(relative).parts
    allowed = [root] if climbs else [root, *links]
    if not any(resolved.is_relative_to(folder.resolve()) for folder in allowed):
        raise UserError(f"The path {str(relative)!r} leads out of {root}.", fix="Paths must stay inside the folder.")
    return resolved


def check_text_size(path: Path) -> None:
    """
    Raises:
        DataError: the file is larger than `MOST_TEXT`, or a pipe or device, which may never end.
        OSError: it is missing.
    """
    if not path.is_file() and not path.is_dir() and path.exists():
        raise DataError(
            f"{path}: expected a file, found a pipe or a device.", fix="Save what it gives to a file first."
        )
    if (size := path.stat().st_size) > MOST_TEXT:
        raise DataError(f"{path}: expected at most {MOST_TEXT:,} bytes, found {size:,}.")


def _text_of(path: Path, fix: str) -> str:
    try:
        check_text_size(path)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"File not found: {path}.", fix=fix) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", fix=fix) from None


def _decoded(path: Path, text: str, place: str, fix: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}{place} is not JSON: {error}.", fix=fix) from None
