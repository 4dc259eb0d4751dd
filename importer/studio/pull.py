"""Fetch what was answered in Label Studio since the last time.

In: the tasks of the database. Out: judgments and rejections (importer.studio.judgments). `pull` reads what changed
since the last time; a project whose number of annotations differs from ours is read as a whole, so whatever was lost is
found. `pull_tasks` reads the tasks that a webhook named.

Before a page is read, what is known of its tasks is noted: an answer that another pull brings meanwhile is not on the
page, and stays.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from importer.studio.client import LabelStudio, connect
from importer.studio.judgments import Recorded, rejudge_unknown, replace_annotations
from importer.studio.queues import all_pushed, database_mark
from importer.studio.repair import check_present, edits
from importer.studio.replies import StudioProject, StudioTask
from preference.artifacts import read_json, write_json
from preference.errors import DataError, StudioError
from preference.logs import new_request_id, request, tell
from preference.workspace import Workspace

OVERLAP = timedelta(seconds=30)
"""A pull goes back this far before the newest change that it saw: a transaction may end later than its time stamp."""
log = logging.getLogger("robopref.pull")
NAMED = 100
"""Tasks asked for by name in one request: their ids stand in its address."""


@dataclass(frozen=True)
class PullResult:
    """What pull changed; all 0 when nothing happened since."""

    new: int
    updated: int
    rejected: int
    notes: list[str] = field(default_factory=list)
    """What people did to our projects by hand."""


def pull(ws: Workspace, *, whole: bool = False) -> PullResult:
    """Fetch what was answered since the last pull; the webhook may already have delivered it.

    Args:
        whole: Read every task, whatever its time stamp says, in case Label Studio's clock was set back.

    Raises:
        StudioError: Label Studio is down or refuses us; or a project is gone or cannot be read, after all others were
            pulled.
    """
    with request(new_request_id(kind="pull")):
        found = _pull_all(ws, whole)
        if found.new or found.updated or found.rejected:
            tell(log, "pulled", new=found.new, updated=found.updated, rejected=found.rejected)
        return found


def _pull_all(ws: Workspace, whole: bool) -> PullResult:
    pushed = all_pushed(ws)
    if not pushed:
        return PullResult(0, 0, 0)
    studio = connect(ws)
    projects = {project.project_id: project for project in studio.projects([queue.project_id for queue in pushed])}
    recorded = rejudge_unknown(ws.store)
    cursor = _Cursor(ws, whole=whole)
    failures: list[StudioError] = []
    for queue in pushed:
        if queue.project_id in projects:
            try:
                recorded += _pull_project(ws, studio, projects[queue.project_id], queue.tasks, cursor)
            except StudioError as error:
                cursor.forget(queue.project_id)
                failures.append(error)
    cursor.save()
    if failures:
        raise failures[0]
    check_present(studio, pushed, list(projects.values()))
    return PullResult(recorded.new, recorded.updated, recorded.rejected, edits(pushed, list(projects.values())))


def pull_tasks(
    ws: Workspace, studio: LabelStudio, task_ids: Iterable[int], requests: Mapping[int, str] | None = None
) -> Recorded:
    """Fetch what Label Studio has of these tasks now; ids that are not ours, and tasks that are gone, change nothing.

    Args:
        requests: Task → id of the webhook that named it.

    Raises:
        StudioError: Label Studio is down or refuses us.
    """
    by_project: dict[int, list[int]] = defaultdict(list)
    for task_id, assignment in ws.store.assignments_of_tasks(sorted(set(task_ids))).items():
        if assignment.project_id is not None:
            by_project[assignment.project_id].append(task_id)
    recorded = Recorded()
    for project_id, tasks in by_project.items():
        for start in range(0, len(tasks), NAMED):
            named = tasks[start : start + NAMED]
            before = ws.store.annotation_stamps(named)
            for page in studio.annotations(project_id, tasks=named):
                recorded += replace_annotations(ws.store, _read(page), before, requests)
    return recorded


def _pull_project(
    ws: Workspace, studio: LabelStudio, project: StudioProject, tasks: Sequence[int], cursor: _Cursor
) -> Recorded:
    since = cursor.since(project.project_id)
    recorded = _pull_pages(ws, studio, project.project_id, tasks, since, cursor)
    if since and ws.store.count_annotations(tasks) != project.annotations:
        recorded += _pull_pages(ws, studio, project.project_id, tasks, "", cursor)
    return recorded


def _pull_pages(
    ws: Workspace, studio: LabelStudio, project_id: int, tasks: Sequence[int], since: str, cursor: _Cursor
) -> Recorded:
    recorded = Recorded()
    pages = studio.annotations(project_id, since)
    while True:
        before = ws.store.annotation_stamps(tasks)
        if (page := next(pages, None)) is None:
            return recorded
        recorded += replace_annotations(ws.store, _read(page), before)
        for task in page:
            cursor.saw(project_id, task.updated_at)


def _read(page: Iterable[StudioTask]) -> dict[int, list[dict[str, Any]]]:
    return {task.task_id: task.annotations for task in page}


class _Cursor:
    """Up to when each project was pulled, by Label Studio's clock; only a shortcut: losing it costs a full pull."""

    def __init__(self, ws: Workspace, *, whole: bool = False) -> None:
        self._path = ws.root / "pull.json"
        self._database = database_mark(ws.store.batches())
        self._started = time.monotonic()
        self._newest: dict[str, str] = {}
        try:
            kept = read_json(self._path)
        except DataError:
            kept = {}
        ours = isinstance(kept, dict) and kept.get("database") == self._database and not whole
        self._seen: dict[str, str] = kept.get("seen", {}) if ours else {}

    def since(self, project_id: int) -> str:
        """From where to pull; empty = everything."""
        seen = self._seen.get(str(project_id))
        # Label Studio's filter takes this format and no other, microseconds included.
        return (datetime.fromisoformat(seen) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if seen else ""

    def saw(self, project_id: int, updated_at: str) -> None:
        key = str(project_id)
        self._newest[key] = max(self._newest.get(key, ""), updated_at)

    def forget(self, project_id: int) -> None:
        """Its pull ended early: the next one starts where this one did."""
        self._newest.pop(str(project_id), None)

    def save(self) -> None:
        """The newest stamp that was seen, less the time that this pull took: what changed meanwhile is newer."""
        took = timedelta(seconds=time.monotonic() - self._started)
        for key, newest in self._newest.items():
            at = (datetime.fromisoformat(newest) - took).isoformat()
            self._seen[key] = max(self._seen.get(key, ""), at)
        write_json(self._path, {"database": self._database, "seen": self._seen})
