"""A workspace as one file, and back: the database, the work folder, and Label Studio's database and files.

The file is a tar archive: `work/`, `database.sqlite3` or `database.dump`, `studio/`, `studio.dump`, `robopref.toml`,
and last `backup.json`, with the SHA-256 of everything else: without it the backup is incomplete.

People may go on working meanwhile. The databases are copied first, ours before Label Studio's: what was answered in
between is in Label Studio's copy and the next pull fetches it. No push happens between the two. Files come last; they
are written once and renamed, so that whatever the databases name is there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, Any

from preference.artifacts import LOST_FOUND, check_writable, contents, fill, keep_private, replacing
from preference.config import is_server
from preference.config_file import load_config, studio_data, studio_database
from preference.errors import DataError, NotReady, UserError
from preference.locks import PUSH, WORKER, exclusively, taken
from preference.store.copies import (
    copy_sqlite,
    dump_postgresql,
    is_empty,
    restore_postgresql,
    sqlite_file,
)
from preference.workspace import Workspace
from robopref.studio import DATA_FOLDER, DATABASE, LabelStudioServer

CONTENTS = "backup.json"
CONFIG = "robopref.toml"
NOT_KEPT = (".lock", ".pid", ".log", ".beat", "-wal", "-shm", "-journal")
STUDIO_KEY = "studio/.env"
"""Label Studio's SECRET_KEY, which signs sessions and personal access tokens: without it none is valid."""
PATIENCE_S = 300.0
"""How long a push that is under way is waited for."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Studio:
    """Where Label Studio keeps what it knows; None and "" where it is not part of the backup."""

    data: Path | None = None
    """Its data folder, with label_studio.sqlite3 where it runs on SQLite."""
    database: str = ""
    """URL of its PostgreSQL database."""

    @classmethod
    def of(cls, config: Path, data: Path | None, database: str) -> Studio:
        """As given or as the environment says; else the folder that `robopref up` makes, where it exists."""
        beside = config.parent / DATA_FOLDER
        with explained(beside):
            data = data or studio_data() or (beside if (beside / DATABASE).exists() else None)
        return cls(data, database or studio_database())


@dataclass(frozen=True)
class BackupResult:
    """What a backup holds."""

    path: Path
    files: int
    size: int
    parts: list[str]
    notes: list[str] = field(default_factory=list)


def back_up(config: Path, target: Path, studio: Studio, *, force: bool = False) -> BackupResult:
    """Write the workspace of `config` to `target`.

    Raises:
        UserError: `target` exists and `force` is not given; its folder is another user's; there is no data folder of
            Label Studio; a file cannot be read; a database cannot be copied.
    """
    with explained(target):
        return _back_up(config, target, studio, force)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """An error of the file system becomes one for people, which names the file, or `path` where the system named none.

    Raises:
        UserError: there was one.
    """
    try:
        yield
    except PermissionError as error:
        raise _not_ours(Path(error.filename or path)) from None
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror or error}.") from None


def _not_ours(path: Path) -> UserError:
    """Names `path`, or the folder on the way to it that may not be entered."""
    try:
        owner, own = path.stat().st_uid, os.geteuid()
    except OSError:
        return _not_ours(path.resolve().parent)
    if owner == own:
        return UserError(f"{path} may not be read.", fix=f"Allow it: chmod --recursive u+rX {path}")
    return UserError(
        f"{path} belongs to user {owner}, and this runs as user {own}, who may not read it.",
        fix="Run this as its owner or as root.",
    )


def _back_up(config: Path, target: Path, studio: Studio, force: bool) -> BackupResult:
    check_writable(next(folder for folder in target.absolute().parents if folder.is_dir()), "The folder for backups")
    if studio.data and not studio.data.is_dir():
        fix = "Name the right one with --studio-data."
        raise UserError(f"There is no folder {studio.data} with Label Studio's data.", fix=fix)
    ws = Workspace.open(config)
    if target.exists() and not force:
        raise UserError(f"{target} exists.", fix="Name another file, or use --force.")
    ws.store.close()  # its tables are current now, and a file is there
    sums: dict[str, str] = {}
    with replacing(target) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
        copies = _copied(ws, studio, Path(folder))
        os.close(os.open(temporary, os.O_CREAT, 0o600))
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, path in (*copies.items(), (CONFIG, config), *_files(ws, studio)):
                _add(tar, name, path, sums)
            _add_contents(tar, ws, sums)
    parts = sorted({name.split("/")[0] for name in sums})
    notes = [] if studio.data or studio.database else [NO_STUDIO]
    return BackupResult(target, len(sums), target.stat().st_size, parts, notes)


NO_STUDIO = "Label Studio is not part of it: name its data folder (--studio-data) or its URL (--studio-database)."


def _copied(ws: Workspace, studio: Studio, folder: Path) -> dict[str, Path]:
    """Name in the archive → a copy of each database, of one moment."""
    copies: dict[str, Path] = {}
    with exclusively(ws, PUSH, patience_s=PATIENCE_S):
        if is_server(ws.database):
            copies["database.dump"] = folder / "database.dump"
            dump_postgresql(ws.database, copies["database.dump"])
        else:
            copies["database.sqlite3"] = folder / "database.sqlite3"
            copy_sqlite(sqlite_file(ws.database), copies["database.sqlite3"])
        if studio.database:
            copies["studio.dump"] = folder / "studio.dump"
            dump_postgresql(studio.database, copies["studio.dump"])
        elif studio.data and (studio.data / DATABASE).exists():
            copies[f"studio/{DATABASE}"] = folder / DATABASE
            copy_sqlite(studio.data / DATABASE, folder / DATABASE)
    return copies


def _files(ws: Workspace, studio: Studio) -> Iterator[tuple[str, Path]]:
    database = None if is_server(ws.database) else sqlite_file(ws.database).resolve()
    roots = {"work": ws.root} | ({"studio": studio.data} if studio.data else {})
    for part, root in roots.items():
        for path in _below(root):
            name = f"{part}/{path.relative_to(root).as_posix()}"
            half_written = path.name.startswith(".") and name != STUDIO_KEY
            if path.is_symlink() or not path.is_file() or half_written or path.name.endswith(NOT_KEPT):
                continue
            if path.resolve() != database and path.name not in (DATABASE, "lock"):
                yield name, path


def _below(root: Path) -> Iterator[Path]:
    """What is in this folder and those below it, without the half-written ones (`replacing`)."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # replaced or cleared away since it was listed
            raise error

    for folder, inner, names in os.walk(root, onerror=refuse):
        top = Path(folder) == root
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not (top and name == LOST_FOUND))
        yield from (Path(folder, name) for name in sorted(names))


class _Hashing:
    """A stream that knows the SHA-256 of what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        try:
            block = self._stream.read(size)
        except OSError as error:
            error.filename = self._stream.name
            raise
        self.digest.update(block)
        return block


def _add(tar: tarfile.TarFile, name: str, path: Path, sums: dict[str, str]) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # replaced or cleared away since it was listed
    with file:
        member = tar.gettarinfo(arcname=name, fileobj=file)
        member.type, member.linkname = tarfile.REGTYPE, ""  # a file with a second name is a file
        member.size = os.fstat(file.fileno()).st_size
        content: Any = _Hashing(file)
        tar.addfile(member, content)
        sums[name] = content.digest.hexdigest()


def _add_contents(tar: tarfile.TarFile, ws: Workspace, sums: dict[str, str]) -> None:
    kind = "postgresql" if is_server(ws.database) else "sqlite"
    about = {"robopref": version("robopref"), "database": kind, "made": datetime.now(UTC).isoformat(), "sha256": sums}
    data = json.dumps(about, indent=2).encode()
    member = tarfile.TarInfo(CONTENTS)
    member.size, member.mode = len(data), 0o600
    tar.addfile(member, io.BytesIO(data))


def restore(config: Path, source: Path, studio: Studio, *, force: bool = False) -> BackupResult:
    """Put a backup in the place of the workspace of `config`, once every byte of it was compared with its checksum.

    Where `config` does not exist yet, the backup's is written there first.

    Raises:
        DataError: the backup is damaged, incomplete, or holds what no backup does.
        UserError: its robopref.toml, where that is needed, names places outside its folder; something is there already
            and `force` is not given; a worker is running; or the backup is of another kind of database.
    """
    if not source.is_file():
        raise DataError(f"File not found: {source}.")
    parent = config.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    # beside robopref.toml; in a container that folder is often another user's, and the backups' is not
    beside = parent if os.access(parent, os.W_OK) else source.resolve().parent
    with tempfile.TemporaryDirectory(dir=beside, prefix=".restore-") as folder:
        unpacked = Path(folder)
        about = _unpack(source, unpacked)
        if not config.exists():
            _check_places(unpacked / CONFIG, unpacked)
            with replacing(config) as temporary:
                shutil.move(unpacked / CONFIG, temporary)
        ws = Workspace.open(config)
        data = studio.data or (parent / DATA_FOLDER if (unpacked / "studio").exists() else None)
        studio = Studio(data, studio.database)
        _check_target(ws, about, studio, unpacked, force=force)
        if taken(ws, WORKER):
            raise NotReady(
                "A worker is running on this workspace.",
                fix="Run `robopref up --stop` first, or stop it and the service as you started them.",
            )
        if data and data.is_dir():
            LabelStudioServer(data, ws.root).end_stale()
        _put_back(ws, unpacked, studio)
    Workspace.open(config).store.close()  # migrates a backup of an earlier version
    parts = sorted({name.split("/")[0] for name in about["sha256"]})
    return BackupResult(source, len(about["sha256"]), source.stat().st_size, parts)


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    """Every member below `folder`; returns what backup.json says.

    Raises:
        DataError: a member leads out of the backup or is no file, or a checksum differs.
    """
    found: dict[str, str] = {}
    try:
        with tarfile.open(source, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None or not _belongs(member.name) or member.name in found:
                    raise DataError(f"{source} holds {member.name[:200]!r}, which no backup does.")
                found[member.name] = _write(folder / member.name, content, member.mode)
        about = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        expected = about["sha256"]
        known = isinstance(expected, dict) and about["database"] in ("sqlite", "postgresql")
    except (tarfile.TarError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{source} is damaged or not a complete backup: {error}.") from None
    del found[CONTENTS]
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong or not known:
        raise DataError(f"{source} is damaged: {', '.join(wrong[:3])} differ from their checksums.")
    return about


def _check_places(config: Path, folder: Path) -> None:
    """A robopref.toml that comes with a backup says where the backup is written: below its own folder only.

    Raises:
        UserError: its work folder or its SQLite file is elsewhere.
    """
    settings = load_config(config)
    named = "database" in tomllib.loads(config.read_text(encoding="utf-8"))  # not in the environment, by its owner
    database = settings.database.get_secret_value() if named else ""
    for place in (settings.work, *([sqlite_file(database)] if database and not is_server(database) else [])):
        if not place.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"The backup's robopref.toml would write to {place}.",
                fix="Write a robopref.toml with the places that you want first, and restore again.",
            )


def _belongs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if name in (CONTENTS, CONFIG, "database.sqlite3", "database.dump", "studio.dump"):
        return True
    return len(parts) > 1 and parts[0] in ("work", "studio") and ".." not in parts and "/".join(parts) == name


def _write(path: Path, content: IO[bytes], mode: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode & 0o755), "wb") as file:
        while block := content.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _check_target(ws: Workspace, about: dict[str, Any], studio: Studio, unpacked: Path, *, force: bool) -> None:
    kind = "postgresql" if is_server(ws.database) else "sqlite"
    if about["database"] != kind:
        fix = "Set `database` in robopref.toml to a database of that kind."
        raise UserError(f"The backup's database is {about['database']}, this workspace's is {kind}.", fix=fix)
    if (unpacked / "studio.dump").exists() and not studio.database:
        raise UserError("The backup holds Label Studio's PostgreSQL database.", fix="Name it with --studio-database.")
    if studio.data and studio.data.exists() and not studio.data.is_dir():
        raise UserError(f"{studio.data} is not a folder.", fix="Name the right one with --studio-data.")
    taken = [ws.root] if ws.root.exists() and contents(ws.root) else []
    if kind == "sqlite" and not taken and sqlite_file(ws.database).exists():
        taken.append(sqlite_file(ws.database))
    if studio.data and (unpacked / "studio").exists() and studio.data.exists() and contents(studio.data):
        taken.append(studio.data)
    servers = [ws.database] * (kind == "postgresql")
    servers += [studio.database] * (unpacked / "studio.dump").exists()
    if not force and (taken or not all(is_empty(url) for url in servers)):
        what = ", ".join(map(str, taken)) or "The database"
        raise UserError(f"{what} would be overwritten.", fix="Use --force, or restore into an empty place.")


def _put_back(ws: Workspace, unpacked: Path, studio: Studio) -> None:
    if is_server(ws.database):
        restore_postgresql(ws.database, unpacked / "database.dump")
    if studio.database and (unpacked / "studio.dump").exists():
        restore_postgresql(studio.database, unpacked / "studio.dump")
    work = unpacked / "work"
    work.mkdir(exist_ok=True)
    if not is_server(ws.database):
        file = sqlite_file(ws.database)
        inside = file.resolve().is_relative_to(ws.root.resolve())
        target = work / file.resolve().relative_to(ws.root.resolve()) if inside else file
        with replacing(target) as temporary:
            shutil.move(unpacked / "database.sqlite3", temporary)
            keep_private(temporary)
        for end in ("-wal", "-shm"):
            target.with_name(target.name + end).unlink(missing_ok=True)
    for folder, target in ((unpacked / "studio", studio.data), (work, ws.root)):
        if folder.exists() and target:
            fill(target, folder)
    if studio.data:
        keep_private(studio.data)
