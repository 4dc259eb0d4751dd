"""A name that one connection to PostgreSQL holds at a time: an advisory lock, for workers on different machines.

The server lets go of it when the connection ends, however it ends; nothing has to be cleaned up, and no clock is read.
"""

from __future__ import annotations

import contextlib
import hashlib

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from preference.errors import StoreError
from preference.store.database import Database, translated

TAKEN = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((classid::bigint << 32) | objid::bigint) = :key"
)


class ServerLock:
    """Not held until `take` says so."""

    def __init__(self, database: Database, name: str) -> None:
        self._engine = database.engine
        self._key = key_of(name)
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """Whether it is ours now."""
        with translated(self._engine):
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            query = sa.text("SELECT pg_try_advisory_lock(:key)")
            if connection.execute(query, {"key": self._key}).scalar_one():
                self._connection = connection
                return True
            connection.close()
            return False

    def held(self) -> bool:
        """Whether it still is: a server that was restarted has forgotten it."""
        if self._connection is None:
            return False
        try:
            with translated(self._engine):
                return self._connection.execute(sa.text(TAKEN), {"key": self._key}).scalar_one() > 0
        except StoreError:
            self.release()
            return False

    def release(self) -> None:
        """Once it has returned, anybody may take it: at its connection's end the server lets go only a little later."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(SQLAlchemyError):  # whatever ails it, it ends now
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
        connection.invalidate()  # ends the session: where that failed, the lock must not go back into the pool with it
        connection.close()


def server_lock_taken(database: Database, name: str) -> bool:
    """Whether anybody holds it."""
    with translated(database.engine), database.engine.connect() as connection:
        return connection.execute(sa.text(TAKEN), {"key": key_of(name)}).scalar_one() > 0


def hold_for_transaction(connection: sa.Connection, name: str) -> None:
    """Wait for the lock, and hold it until the transaction ends."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key_of(name)})


def key_of(name: str) -> int:
    """63 bits of a name: PostgreSQL's locks are numbers."""
    return int.from_bytes(hashlib.sha256(f"robopref {name}".encode()).digest()[:8]) >> 1
