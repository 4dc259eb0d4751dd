"""One process at a time, on however many machines: every lock of Robopref, each of which dies with its holder.

On one machine `filelock` asks the kernel, which frees a file's lock when the process ends. Where the database is
PostgreSQL, which other machines use as well, its server frees an advisory lock besides. Neither reads a clock or leaves
anything to clean up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from preference.config import is_server
from preference.errors import NotReady
from preference.workspace import Workspace

if TYPE_CHECKING:
    from preference.store.server_lock import ServerLock

WORKER = "worker"
"""Held by the worker for as long as it lives; a second one stands by."""
LEARNING = "learning"
"""Held while a model is trained, or a round is under way, by the worker or by hand."""
PUSH = "push"
"""Held by a push: two at once would both find a task missing, and create it twice."""

CONSOLE = "console"
"""Held while a manager's action in the console is looked at and done: one at a time."""

JOIN = "join"
"""Held while somebody from outside gets their place: one at a time."""


class Lock:
    """Not held until `take` says so.

    Args:
        path: The file that is locked; created if missing, and left there.
        server: The same lock on the database server, which other machines see.
    """

    def __init__(self, path: Path, server: ServerLock | None = None) -> None:
        self.path = path
        self._file = FileLock(path, mode=0o600, thread_local=False)
        self._server = server

    @classmethod
    def of(cls, ws: Workspace, name: str) -> Lock:
        """A lock of the workspace, such as `WORKER`; on PostgreSQL, one for each database."""
        from preference.store.server_lock import ServerLock

        return cls(_path(ws, name), ServerLock(ws.store, name) if is_server(ws.database) else None)

    def take(self, patience_s: float = 0.0) -> bool:
        """Whether it is ours now.

        Args:
            patience_s: How long to wait for another process on this machine.
        """
        if self._file.is_locked:
            return self.held()
        try:
            self._file.acquire(timeout=patience_s, blocking=patience_s > 0)
        except Timeout:
            return False
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
        return self._file.is_locked and (self._server is None or self._server.held())

    def taken(self) -> bool:
        """Whether any process on this machine holds it, ours included."""
        if self._file.is_locked:
            return True
        try:
            with self._file.acquire(timeout=0.1, poll_interval=0.02):  # another one may be asking as well
                return False
        except Timeout:
            return True

    def release(self) -> None:
        if self._server is not None:
            self._server.release()
        self._file.release()


@contextmanager
def exclusively(
    ws: Workspace, name: str, *, patience_s: float = 0.0, sign_of_life: Callable[[], object] = lambda: None
) -> Iterator[Lock]:
    """Hold a lock of the workspace inside.

    Args:
        patience_s: How long to wait for it; infinity = as long as it takes.
        sign_of_life: Of whoever holds it; whenever it returns something new, the wait starts over.

    Raises:
        NotReady: another process holds it, and gave no sign of life for `patience_s`.
    """
    lock = Lock.of(ws, name)
    deadline = time.monotonic() + patience_s
    last: object = None
    while not lock.take():
        if (sign := sign_of_life()) != last:
            last, deadline = sign, time.monotonic() + patience_s
        if time.monotonic() >= deadline:
            raise NotReady(f"Another process holds the {name} lock of {ws.root}.", fix="Wait for it, or stop it.")
        time.sleep(0.5)
    try:
        yield lock
    finally:
        lock.release()


def taken(ws: Workspace, name: str) -> bool:
    """Whether any process holds the lock, here or on another machine."""
    if is_server(ws.database):
        from preference.store.server_lock import server_lock_taken

        return server_lock_taken(ws.store, name)
    return _path(ws, name).exists() and Lock(_path(ws, name)).taken()


def _path(ws: Workspace, name: str) -> Path:
    return ws.root / f"{name}.lock"
