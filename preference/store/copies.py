"""Copies of a database: before a migration, beside it; and into a file and back, while others read and write.

SQLite copies through its backup API, which sees one moment of the database. PostgreSQL's tables are copied into a
schema, and its dumps are made and read by `pg_dump` and `pg_restore`, each in one transaction.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from preference.artifacts import keep_private, replacing
from preference.errors import StoreError
from preference.store.tables import metadata

DUMP_S = 3600.0
"""Seconds that a dump of a server's database may take."""


def copy_before_migration(connection: sa.Connection, revision: str) -> None:
    """Keep what is there as `robopref.db.REVISION`, or on PostgreSQL as the schema `robopref_REVISION`.

    Called inside the migration's own transaction, before it changes anything; a copy of the same revision is replaced.
    """
    if connection.dialect.name == "sqlite":
        file = connection.engine.url.database
        if file and file != ":memory:":
            copy_sqlite(Path(file), Path(f"{file}.{revision}"))
        return
    schema = f"robopref_{revision}"
    tables = {*metadata.tables, "alembic_version"} & {*sa.inspect(connection).get_table_names()}  # others may share it
    connection.execute(sa.text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    connection.execute(sa.text(f'CREATE SCHEMA "{schema}"'))
    for name in sorted(tables):
        connection.execute(sa.text(f'CREATE TABLE "{schema}"."{name}" AS TABLE "{name}"'))


def copy_sqlite(source: Path, target: Path) -> None:
    """One moment of a SQLite database that others may be using; the copy is one file that only its owner reads.

    Raises:
        StoreError: `source` is no SQLite database.
        DiskFull: there is no space for it.
    """
    with replacing(target) as temporary:
        os.close(os.open(temporary, os.O_CREAT, 0o600))
        try:
            with (
                closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as old,
                closing(sqlite3.connect(temporary)) as new,
            ):
                old.backup(new)
                new.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            if error.sqlite_errorname == "SQLITE_FULL":
                raise OSError(errno.ENOSPC, str(error)) from None
            raise StoreError(f"{source} cannot be copied: {error}.") from None
        keep_private(temporary)


def dump_postgresql(url: str, target: Path) -> None:
    """
    Raises:
        StoreError: `pg_dump` is missing, or says why not.
        DiskFull: there is no space for it.
    """
    with replacing(target) as temporary:
        try:
            _run("pg_dump", url, "--format=custom", "--no-owner", "--no-acl", f"--file={temporary}")
        except StoreError as error:
            if os.strerror(errno.ENOSPC) in error.message:
                raise OSError(errno.ENOSPC, error.message) from None
            raise
        keep_private(temporary)


def restore_postgresql(url: str, source: Path) -> None:
    """Put a dump in the place of what is there, in one transaction.

    Raises:
        StoreError: `pg_restore` is missing, or says why not.
    """
    options = ("--clean", "--if-exists", "--single-transaction", "--no-owner", "--no-acl")
    _run("pg_restore", url, *options, str(source), target="--dbname=")


def is_empty(url: str) -> bool:
    """Whether a server's database has no tables.

    Raises:
        StoreError: it cannot be reached.
    """
    from preference.store.database import connect, translated

    engine = connect(url, 30.0)
    try:
        with translated(engine), engine.connect() as connection:
            return not sa.inspect(connection).get_table_names()
    finally:
        engine.dispose()


def sqlite_file(url: str) -> Path:
    return Path(sa.make_url(url).database or "")


def _run(program: str, url: str, *arguments: str, target: str = "") -> None:
    found = shutil.which(program)
    if found is None:
        fix = "Install PostgreSQL's client programs (Debian: apt-get install postgresql-client)."
        raise StoreError(f"Copying a PostgreSQL database needs {program}, which is not installed.", fix=fix)
    address = sa.make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql")
    # the password goes by the environment: every user of the machine sees the arguments
    environment = dict(os.environ) | ({"PGPASSWORD": address.password} if address.password else {})
    place = address._replace(password=None).render_as_string()  # `set` takes None for "as it is"
    try:
        run = subprocess.run(
            [found, *arguments, f"{target}{place}"], env=environment, capture_output=True, text=True, check=False,
            timeout=DUMP_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StoreError(f"{program} took more than {DUMP_S:g} s for {place}.") from None
    if run.returncode:
        said = " ".join((run.stderr or run.stdout).split())[-500:]
        raise StoreError(f"{program} failed for {place}: {said}")
