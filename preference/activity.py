"""What the worker or a command is doing, for whoever looks: the steps of its progress bars go into the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from preference.formats import now
from preference.records import Activity
from preference.work import listening
from preference.workspace import Workspace

EVERY_S = 1.0
"""Between two writes."""


@contextmanager
def telling(ws: Workspace, doing: str) -> Iterator[None]:
    """Inside, `ws.store.activity()` says what is being done and how far it is; afterwards nothing."""
    since, told = now(), -float("inf")

    def tell(step: str, done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told < EVERY_S and done != total:
            return
        told = time.monotonic()
        ws.store.put_activity(Activity(doing, since, now(), step, done, total))

    ws.store.put_activity(Activity(doing, since, since))
    try:
        with listening(tell):
            yield
    finally:
        ws.store.put_activity(None)
