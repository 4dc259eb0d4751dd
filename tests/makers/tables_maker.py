"""Empty SQLite databases get their tables as a copy: hundreds of tests begin with one, and migrating takes 60 ms."""

import contextlib
import functools
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from preference.store import migrate
from preference.store.database import connect

EMPTY = "SELECT count(*) = 0 FROM sqlite_master"


def quick_upgrade(folder: Path):
    """In place of `migrate.upgrade`, which makes the tables that are copied, in `folder`, and which runs afterwards as
    always: PostgreSQL's tables and those of earlier versions come from the migrations."""
    upgrade = migrate.upgrade

    @functools.cache
    def made() -> Path:
        engine = connect(f"sqlite:///{folder / 'tables.db'}", patience_s=30.0)
        upgrade(engine)
        engine.dispose()
        return folder / "tables.db"

    def quick(engine: sa.Engine) -> None:
        # where this fails, the migrations fail as well, and say why
        with contextlib.suppress(sqlite3.Error, sa.exc.DBAPIError):
            if engine.dialect.name == "sqlite":
                _copy_into(engine, made())
        upgrade(engine)

    return quick


def _copy_into(engine: sa.Engine, tables: Path) -> None:
    with engine.connect() as connection, contextlib.closing(sqlite3.connect(tables)) as source:
        raw = connection.connection.dbapi_connection
        if raw.execute(EMPTY).fetchone()[0]:
            source.backup(raw)
