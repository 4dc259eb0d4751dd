"""One process at a time, on however many machines: a lock of a workspace that dies with its holder.

On one machine the kernel lets go of a file's lock; where the database is a PostgreSQL server, which other machines use
as well, the server lets go of an advisory lock besides. Neither reads a clock or leaves anything to clean up.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from preference.errors import NotReady
from preference.workspace import Workspace

WORKER = "worker"
"""Held by the worker for as long as it lives; a second one stands by."""
LEARNING = "learning"
"""Held while a model is trained, or a round is under way, by the worker or by hand."""


class Lock:
    """Not held until `take` says so.

    Args:
        name: `WORKER` or `LEARNING`. PostgreSQL keeps the locks of each database apart.
    """

    def __init__(self, ws: Workspace, name: str) -> None:
        from preference.store.server_lock import ServerLock

        self._path = _path(ws, name)
        self._file: IO[str] | None = None
        self._server = ServerLock(ws.store, name) if _on_a_server(ws) else None

    def take(self) -> bool:
        """Whether it is ours now; does not wait."""
        if self._file is not None:
            return self.held()
        file = self._path.open("a")
        if not _lock(file, fcntl.LOCK_EX):
            file.close()
            return False
        self._file = file
        try:
            if self._server is None or self._server.take():
                return True
        except BaseException:
            self.release()
            raise
        self.release()
        return False

    def held(self) -> bool:
        """Whether it still is ours: a database server that was restarted has forgotten it."""
        return self._file is not None and (self._server is None or self._server.held())

    def release(self) -> None:
        if self._server is not None:
            self._server.release()
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def exclusively(ws: Workspace, name: str, *, patience_s: float = 0.0) -> Iterator[Lock]:
    """Hold the lock inside.

    Raises:
        NotReady: another process holds it, and still did after `patience_s`.
    """
    lock = Lock(ws, name)
    deadline = time.monotonic() + patience_s
    while not lock.take():
        if time.monotonic() >= deadline:
            raise NotReady(f"Another process holds the {name} lock of {ws.root}.", fix="Wait for it, or stop it.")
        time.sleep(0.5)
    try:
        yield lock
    finally:
        lock.release()


def taken(ws: Workspace, name: str) -> bool:
    """Whether any process holds the lock, here or on another machine."""
    if _on_a_server(ws):
        from preference.store.server_lock import server_lock_taken

        return server_lock_taken(ws.store, name)
    if not _path(ws, name).exists():
        return False
    with _path(ws, name).open("a") as file:
        return not _lock(file, fcntl.LOCK_SH)


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _path(ws: Workspace, name: str) -> Path:
    return ws.root / f"{name}.lock"


def _on_a_server(ws: Workspace) -> bool:
    return ws.store.engine.dialect.name != "sqlite"
