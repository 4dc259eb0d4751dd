"""Changes that people made to our projects by hand: reported by pull, repaired by `push --repair`.

Queues and Label Studio's projects go in. Sentences for a person come out; or assignments that lost their task wait
for a new one, unless they are answered: an answer that was pulled stays, whatever becomes of its task.
"""

from __future__ import annotations

from collections.abc import Sequence

from importer.studio.client import LabelStudio
from importer.studio.queues import Pushed, Queue
from importer.studio.replies import StudioProject
from labeling_config.contract import missing_in
from preference.errors import StudioError
from preference.workspace import Workspace


def edits(pushed: Sequence[Pushed], projects: Sequence[StudioProject]) -> list[str]:
    """A sentence for each project whose template or tasks are no longer what push made."""
    present = {project.project_id: project for project in projects}
    said = []
    for queue in pushed:
        project = present.get(queue.project_id)
        if project is None:
            continue
        where = f"{project.title!r} ({project.project_id})"
        if missing := missing_in(project.template):
            said.append(
                f"The template of {where} was changed and lacks {', '.join(missing)}: its answers are rejected until "
                "it is restored (labeling_config/*.xml)."
            )
        if project.tasks < len(queue.tasks):
            lost = len(queue.tasks) - project.tasks
            fix = "`robopref push --repair` recreates those that are not answered"
            said.append(f"{lost} tasks of {where} were deleted; {fix}.")
    return said


def release_lost(ws: Workspace, studio: LabelStudio, queues: Sequence[Queue]) -> int:
    """Let the unanswered assignments whose task or project is gone wait for a new one; returns how many."""
    present = {project.project_id: project for project in studio.projects()}
    answered = ws.store.answered()
    gone: list[str] = []
    for queue in queues:
        if queue.project_id is None:
            continue
        project = present.get(queue.project_id)
        if project is not None and project.tasks >= len(queue.tasks):
            continue
        there = studio.tasks(queue.project_id) if project else {}
        for view in queue.views:
            key = view.assignment.assignment_id
            if view.assignment.task_id is not None and view.assignment.task_id > 0 and key not in there:
                gone.append(key)
    ws.store.detach([key for key in gone if key in answered])
    unanswered = [key for key in gone if key not in answered]
    ws.store.set_tasks((key, None, None) for key in unanswered)
    return len(unanswered)


def check_present(studio: LabelStudio, queues: Sequence[Queue | Pushed], present: Sequence[StudioProject]) -> None:
    ids = {project.project_id for project in present}
    if gone := [q for q in queues if q.project_id is not None and q.project_id not in ids]:
        names = ", ".join(f"{queue.title!r} ({queue.project_id})" for queue in gone)
        raise StudioError(
            f"Label Studio at {studio.url} no longer has {names}: deleted there, or this is another server.",
            fix="Restore it from Label Studio's backup, or recreate it for the pairs that are not answered yet with "
            "`robopref push --repair`. The answers pulled so far are in the database.",
        )
