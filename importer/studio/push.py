"""Create what is planned in Label Studio; each assignment gets exactly one task, however often the run is killed.

In: the assignments of the database that have no task. Out: users, projects, storages, the ML backend's connection and
tasks in Label Studio, their ids in the database. Nothing is created before looking up what is already there.

work/credentials.json (mode 0600) has the passwords of the accounts that were made, for the manager to hand out.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from importer.clips.s3 import upload_clips
from importer.studio.client import TAKEN, LabelStudio, connect
from importer.studio.owners import update_owners
from importer.studio.queues import (
    PLANNED,
    Queue,
    all_queues,
    database_mark,
    project_description,
    project_mark,
    task_of_view,
)
from importer.studio.repair import check_present, release_lost
from importer.studio.replies import StudioProject
from labeling_config.contract import explained, load_template, with_guidelines
from labeling_config.guidelines import instructions
from labeling_config.questions import for_adjudication, with_questions
from preference.adjudicated import ADJUDICATION
from preference.artifacts import keep_private, read_json, write_json
from preference.errors import StoreError, StudioError
from preference.listeners import check_own
from preference.locks import PUSH, exclusively
from preference.work import progress
from preference.workspace import Workspace

CHUNK = 4000
"""Tasks in one import: answered within five seconds, so that no time-out leaves the outcome unknown."""


@dataclass(frozen=True)
class PushResult:
    """What push made; all 0 when everything was there."""

    users: int
    projects: int
    tasks: int


def push(
    ws: Workspace,
    *,
    backend_url: str | None = None,
    webhook_url: str | None = None,
    repair: bool = False,
    scores: Mapping[str, float] | None = None,
) -> PushResult:
    """Create everything planned in Label Studio, and connect the ML backend.

    Args:
        backend_url: The ML backend as Label Studio reaches it; default: `service.url`. Empty leaves the connection as
            it is.
        webhook_url: Where annotations are announced; default: the backend's /webhook.
        repair: Recreate projects and tasks that somebody deleted in Label Studio, for pairs without an answer.
        scores: `assignment_id` → place in the annotator's queue, for new tasks; default: the planned order.

    Raises:
        NotReady: a clip is missing.
        StoreError: the database restarted meanwhile, and no longer keeps other pushes out.
        StudioError: Label Studio is down, refuses us, or lacks a project that it had.
    """
    backend_url = ws.config.service.url if backend_url is None else backend_url
    with exclusively(ws, PUSH, patience_s=math.inf) as lock:
        queues = all_queues(ws)
        if repair and release_lost(ws, connect(ws), queues):
            queues = all_queues(ws)
        waiting = sum(len(queue.waiting) for queue in queues)
        if not waiting and not (backend_url or webhook_url):
            return PushResult(0, 0, 0)
        data = _task_data(ws, queues)
        studio = connect(ws)
        if backend_url and ws.config.embedded:  # Label Studio sends it a login, the webhooks' secret and a token
            check_own(backend_url, "this project's ML backend", error=StudioError, fix=TAKEN)
        ids = [queue.project_id for queue in queues if queue.project_id is not None]
        # Where a queue has no project yet, one that a killed run made may be among all that there are.
        present = studio.projects(ids if len(ids) == len(queues) else None)
        check_present(studio, queues, present)
        update_owners(ws, studio, present)
        users = _push_users(ws, studio, [queue for queue in queues if queue.waiting])
        made = tasks = 0
        _bring_clips(ws, queues)
        with _bar("Tasks into Label Studio", waiting) as advance:
            for queue in queues:
                if not lock.held():
                    raise StoreError(
                        "The database restarted during this push; another one may have begun.",
                        fix="Run it again: what was created is kept.",
                    )
                project, new = _ensure_project(ws, studio, queue, present)
                _connect(ws, studio, project.project_id, backend_url, webhook_url)
                places = {key: (scores or {}).get(key, place) for key, place in queue.places.items()}
                tasks += _push_tasks(ws, studio, project, queue, data, places, advance) if queue.waiting else 0
                made += new
    return PushResult(users, made, tasks)


def credentials(ws: Workspace) -> dict[str, str]:
    """E-mail address → password of every account that push made."""
    path = ws.root / "credentials.json"
    keep_private(path)
    return read_json(path, fix="Restore it from a backup.") if path.exists() else {}


def _task_data(ws: Workspace, queues: Sequence[Queue]) -> dict[str, dict[str, str | float]]:
    """`assignment_id` → data of its task; before anything is created, so that a missing clip stops everything."""
    trajectories = {trajectory.trajectory_id: trajectory for trajectory in ws.store.trajectories()}
    return {
        view.assignment.assignment_id: task_of_view(view, trajectories, ws.config, shows_expert=queue.shows_expert)
        for queue in queues
        for view in queue.waiting
    }


def _bring_clips(ws: Workspace, queues: Sequence[Queue]) -> None:
    """Upload the clips of the tasks that wait, where a bucket serves them."""
    if ws.config.label_studio.clips != "s3":
        return
    pairs = [view.pair for queue in queues for view in queue.waiting]
    needed = {key for pair in pairs for key in (pair.trajectory_a_id, pair.trajectory_b_id)}
    upload_clips(ws, [t for t in ws.store.trajectories() if t.trajectory_id in needed])


def _push_users(ws: Workspace, studio: LabelStudio, queues: Sequence[Queue]) -> int:
    """An account for everybody who waits for tasks; returns how many were made."""
    annotators = {queue.annotator.annotator_id: queue.annotator for queue in queues}
    known = studio.users()
    made = 0
    for annotator in annotators.values():
        email = annotator.email.lower()
        if email not in known:
            # Saved before the account is created: a run that is killed in between must not lock anybody out.
            password = credentials(ws).get(email) or secrets.token_urlsafe(12)
            _keep_credentials(ws, {**credentials(ws), email: password})
            known[email] = studio.ensure_user(email, password)
            made += 1
        if annotator.studio_user_id != known[email]:
            ws.store.put_annotators([replace(annotator, studio_user_id=known[email])])
    return made


def _keep_credentials(ws: Workspace, passwords: Mapping[str, str]) -> None:
    write_json(ws.root / "credentials.json", dict(passwords), sort_keys=True, private=True)


def _ensure_project(
    ws: Workspace, studio: LabelStudio, queue: Queue, present: Sequence[StudioProject]
) -> tuple[StudioProject, bool]:
    """The queue's project, by the id that we keep or by its mark; made where there is none, which the flag tells."""
    database = database_mark(ws.store.batches())
    mark = project_mark(queue, database)
    for project in present:
        if project.project_id == queue.project_id or mark in project.description.splitlines():
            return project, False
    description = project_description(queue, database, watch_to_end=ws.config.label_studio.watch_to_end)
    adjudicates = queue.phase.startswith(ADJUDICATION)
    template = load_template("calibration" if queue.shows_expert or adjudicates else "pair_compare")
    if adjudicates:
        template = for_adjudication(template)
    if queue.phase == "production":
        template = with_questions(template, **ws.config.questions.model_dump())
    if queue.annotator.role == "expert" and not adjudicates:
        template = explained(template)
    template = with_guidelines(template, ws.config.label_studio.guidelines)
    made = studio.create_project(queue.title, description, template, instructions())
    return StudioProject(made, queue.title, description, PLANNED, 0, 0), True


def _connect(ws: Workspace, studio: LabelStudio, project_id: int, backend: str | None, webhook: str | None) -> None:
    service = ws.config.service
    if webhook := webhook or (backend and f"{backend.rstrip('/')}/webhook"):
        studio.ensure_webhook(project_id, webhook, service.webhook_secret.get_secret_value())
    if backend:
        studio.ensure_backend(project_id, backend, service.user, service.login)


def _push_tasks(
    ws: Workspace,
    studio: LabelStudio,
    project: StudioProject,
    queue: Queue,
    data: Mapping[str, dict[str, str | float]],
    places: Mapping[str, float],
    advance: Callable[[int], None],
) -> int:
    """Import the queue's missing tasks, after adopting those that a killed run left; returns how many were imported."""
    settings = ws.config.label_studio
    if settings.clips == "local":
        studio.ensure_storage(project.project_id, ws.clips)
    elif settings.clips == "s3":
        studio.ensure_bucket(project.project_id, settings.s3)
    adopted = _adopt(ws, studio, project, queue)
    advance(len(adopted))
    missing = [key for v in queue.waiting if (key := v.assignment.assignment_id) not in adopted]
    for start in range(0, len(missing), CHUNK):
        ids = missing[start : start + CHUNK]
        version = project.model_version or PLANNED
        body, order = [data[key] for key in ids], [places[key] for key in ids]
        tasks = studio.import_tasks(project.project_id, body, order, version)
        ws.store.set_tasks((key, project.project_id, task) for key, task in zip(ids, tasks, strict=True))
        advance(len(ids))
    return len(missing)


def _adopt(ws: Workspace, studio: LabelStudio, project: StudioProject, queue: Queue) -> set[str]:
    """Assignments whose tasks a killed run had made already; where there are two of one, the later one goes."""
    waiting = {view.assignment.assignment_id for view in queue.waiting}
    found: dict[str, int] = {}
    for assignment_id, tasks in studio.tasks(project.project_id, after=max(queue.tasks, default=0)).items():
        kept = tasks[:1] if assignment_id in waiting else []
        found |= dict.fromkeys([assignment_id], kept[0]) if kept else {}
        for task in tasks[len(kept) :] if assignment_id in queue.places else []:
            studio.delete_task(task)
    if found:
        ws.store.set_tasks((key, project.project_id, task) for key, task in found.items())
    return set(found)


@contextmanager
def _bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar where there is something to do."""
    if not total:
        yield lambda _: None
        return
    with progress(description, total) as advance:
        yield advance
