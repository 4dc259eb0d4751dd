"""Bring a database's tables to this version's, with Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from preference.errors import StoreError
from preference.store.copies import copy_before_migration
from preference.store.database import READS
from preference.store.server_lock import hold_for_transaction

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: sa.Engine) -> None:
    """Create or migrate the tables; does nothing where they are current.

    Raises:
        StoreError: the tables were made by a newer Robopref.
    """
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:  # reads only: a start waits for no writer where nothing is to be done
        connection.execution_options(**{READS: True})
        if MigrationContext.configure(connection).get_current_revision() == scripts.get_current_head():
            return
    with _migrating(engine) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreError(
                f"The database {engine.url.render_as_string(hide_password=True)} has tables of version {current}, "
                "which this Robopref does not know.",
                fix="Install the newer version of Robopref that created them, restore a backup from before it, or name "
                "another database (ROBOPREF_DATABASE_URL).",
            )
        if engine.dialect.name == "postgresql":
            # two processes that start together migrate one after the other (SQLite's BEGIN IMMEDIATE does the same)
            hold_for_transaction(connection, "migrations")
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current != scripts.get_current_head():
            copy_before_migration(connection, current)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction. SQLite alters a table by making it anew, which needs its foreign keys off, and before BEGIN."""
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            if sqlite:
                raw.execute("PRAGMA foreign_keys=ON")
