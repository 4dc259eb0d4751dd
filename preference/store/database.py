"""The connection: who waits for whom, what is one transaction, and errors that name the database.

Reading takes no lock: SQLite in WAL mode and PostgreSQL both show a reader what was committed last, so a long read
(the worker's) never holds up a short write (a webhook's). Writing takes SQLite's one write lock at its beginning.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError

from preference.artifacts import keep_private
from preference.errors import StoreError

READS = "reads"
"""Execution option of a connection that writes nothing."""


class Database:
    """An engine, and transactions on it; safe to share between threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._own = threading.local()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Whatever this thread reads and writes inside is one transaction: all of it happens, or nothing."""
        with self._transaction() as connection:
            outer, self._own.connection = self._outer, connection
            try:
                yield
            finally:
                self._own.connection = outer

    @property
    def _outer(self) -> sa.Connection | None:
        return getattr(self._own, "connection", None)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        if self._outer is not None:
            yield self._outer
            return
        with translated(self.engine), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        if self._outer is not None:
            yield self._outer
            return
        with translated(self.engine), self.engine.connect() as connection:
            connection.execution_options(**{READS: True})
            with connection.begin():
                yield connection


def connect(url: str, patience_s: float) -> sa.Engine:
    """An engine for `url`.

    Args:
        patience_s: How long a write waits for others before it is an error.

    Raises:
        StoreError: the URL is wrong.
    """
    url = _with_driver(url)
    server = url.startswith("postgresql")
    arguments: dict[str, Any] = {"connect_timeout": 10} if server else {}
    try:
        engine = sa.create_engine(url, pool_pre_ping=server, hide_parameters=True, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as error:
        fix = "Use sqlite:///FILE or postgresql://HOST/NAME."
        raise StoreError(f"The database URL cannot be used: {error}.", fix=fix) from None
    milliseconds = round(1000 * patience_s)
    if engine.dialect.name == "sqlite":
        _private(engine.url.database)
        event.listen(engine, "connect", lambda raw, _: _prepare_sqlite(raw, milliseconds))
        event.listen(engine, "begin", _begin)
    else:
        event.listen(engine, "connect", lambda raw, _: _prepare_postgresql(raw, milliseconds))
    return engine


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """SQLAlchemy's errors as ours."""
    place = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except IntegrityError as error:
        raise StoreError(f"{place} refused a record that breaks its rules: {error.orig}.") from error
    except OperationalError as error:
        raise StoreError(
            f"The database {place} cannot be used: {' '.join(str(error.orig).split()).rstrip('.')}.",
            fix="Check ROBOPREF_DATABASE_URL or `database` in robopref.toml, the password "
            "(ROBOPREF_DATABASE_PASSWORD_FILE), that the server runs, and that its disk has space; then run again.",
        ) from error
    except DBAPIError as error:
        raise StoreError(f"The database {place} answered: {' '.join(str(error.orig).split())}.") from error


def _private(file: str | None) -> None:
    """Answers name people: nobody else on the machine reads them. SQLite gives `-wal` and `-shm` the file's mode."""
    if not file or file == ":memory:":
        return
    with suppress(OSError):  # connecting says what is wrong
        os.close(os.open(file, os.O_CREAT, 0o600))
    for name in (file, f"{file}-wal", f"{file}-shm"):
        keep_private(Path(name))


def _with_driver(url: str) -> str:
    if url.startswith("postgres://"):
        url = url.replace("postgres://", "postgresql://", 1)
    if url.startswith("postgresql://"):
        return url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith("sqlite:///") and url != "sqlite:///:memory:":
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return url


def _prepare_sqlite(connection: Any, patience_ms: int) -> None:
    # Transactions are begun by us (below): the driver's own begin would take the write lock too late, and two
    # writers that both read first would then fail with "database is locked" in place of waiting.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={patience_ms}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(connection: Any, patience_ms: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {patience_ms}")
        # A machine that vanishes is noticed within a minute, not after two hours: its locks are free again.
        cursor.execute("SET tcp_keepalives_idle = 20")
        cursor.execute("SET tcp_keepalives_interval = 10")
        cursor.execute("SET tcp_keepalives_count = 4")
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")
