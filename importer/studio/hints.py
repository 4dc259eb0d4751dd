"""What webhooks say is a hint: it names a task, and what is stored is what Label Studio says of that task when asked.

The route only notes the task and answers; one thread asks Label Studio, for all noted tasks at once. So nobody who can
reach the service can put an answer into the database, and a busy Label Studio holds up no webhook. The notes are kept
in memory: what a crash, a full list or a Label Studio that stays away loses, the next pull brings.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from importer.studio.client import LabelStudio, client
from importer.studio.judgments import is_id, task_of
from importer.studio.pull import pull_tasks
from preference.errors import UserError
from preference.logs import request_id, tell
from preference.workspace import Workspace

MOST = 10_000
"""Tasks that may wait; later ones are left to the next pull."""
GATHER_S = 0.25
"""How long a note waits for others, so that one request asks for them all; the answer is committed by then."""
WAITS_S = (1.0, 4.0, 15.0)
"""Before each further try of tasks that could not be fetched."""

TOLD = 20
"""Requests that one line names."""

log = logging.getLogger("robopref.service")


class Hints:
    """Tasks to ask Label Studio about; safe to share between threads. Nothing runs before the first note.

    Args:
        ws: Its database is written to.
        gather_s: How long a note waits for others.
        waits_s: Before each further try; then the tasks are left to the next pull.
    """

    def __init__(self, ws: Workspace, *, gather_s: float = GATHER_S, waits_s: Iterable[float] = WAITS_S) -> None:
        self._ws = ws
        self._gather_s = gather_s
        self._waits_s = tuple(waits_s)
        self._changed = threading.Condition()
        self._tasks: dict[int, str] = {}
        self._annotations: dict[int, str] = {}
        """Each with the id of the request that named it last."""
        self._busy = False
        self.left = 0
        """Tasks left to the next pull, since the start."""

    @property
    def waiting(self) -> int:
        """Tasks and annotations that were named and not asked for yet."""
        return len(self._tasks) + len(self._annotations)

    def note(self, event: dict[str, Any]) -> None:
        """Note what an event of Label Studio names; one that names nothing passes."""
        tasks, annotations = _named(event)
        if not tasks and not annotations:
            return
        tell(log, "webhook", action=event["action"], tasks=sorted(tasks), deleted=sorted(annotations)[:TOLD])
        with self._changed:
            if self.waiting < MOST:
                self._tasks |= dict.fromkeys(tasks, request_id())
                self._annotations |= dict.fromkeys(annotations, request_id())
            else:
                self.left += len(tasks) + len(annotations)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="hints", daemon=True).start()

    def settled(self, timeout_s: float) -> bool:
        """Wait until every note was dealt with; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout_s)

    def _work(self) -> None:
        """Until no note is left; a later one starts another thread."""
        while True:
            time.sleep(self._gather_s)
            with self._changed:
                tasks, annotations = self._tasks, self._annotations
                self._tasks, self._annotations = {}, {}
                if not tasks and not annotations:
                    self._busy = False
                    self._changed.notify_all()
                    return
            try:
                self._fetch(tasks, annotations)
            except Exception:  # whatever it is, later notes are looked at, and the next pull reads these tasks
                log.exception("tasks named by webhooks could not be fetched")

    def _fetch(self, tasks: Mapping[int, str], annotations: Mapping[int, str]) -> None:
        for wait_s in (*self._waits_s, None):
            try:
                # An event about deleted annotations names these only.
                rows = self._ws.store.annotation_rows("annotation_id", annotations)
                known = {
                    row["task_id"]: annotations[row["annotation_id"]] for row in rows if row["task_id"] is not None
                }
                requests = {**known, **tasks}
                pull_tasks(self._ws, self._studio, requests, requests)
                return
            except UserError as error:
                if wait_s is None:
                    self.left += len(tasks) + len(annotations)
                    said = f"{error} The next pull fetches what the webhooks announced."
                    tell(log, said, level=logging.WARNING, tasks=len(tasks), of=sorted({*tasks.values()})[:TOLD])
                    return
                time.sleep(wait_s)

    @functools.cached_property
    def _studio(self) -> LabelStudio:
        return client(self._ws)


def _named(event: dict[str, Any]) -> tuple[set[int], set[int]]:
    """The tasks that an event names, and the deleted annotations; whatever the event holds."""
    action = event.get("action")
    if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED"):
        annotation = event.get("annotation")
        task = task_of(annotation) if isinstance(annotation, dict) else None
        task = task_of(event) if task is None else task
        return (set() if task is None else {task}), set()
    if action == "ANNOTATIONS_DELETED" and isinstance(event.get("annotations"), list):
        ids = [item.get("id") for item in event["annotations"][:MOST] if isinstance(item, dict)]
        return set(), {found for found in ids if is_id(found)}
    return set(), set()
