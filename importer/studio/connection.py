"""What push and pull share: the connection, the queues of a workspace, and whether their projects are still there."""

from __future__ import annotations

from collections.abc import Sequence

from importer.studio.queues import Pushed, Queue, pushed_of, queues_of
from importer.studio.replies import StudioProject
from importer.studio.sdk import LabelStudio
from preference.errors import StudioError
from preference.workspace import Workspace


def connect(ws: Workspace) -> LabelStudio:
    """Label Studio as the configuration names it, once it has answered and let us in."""
    settings = ws.config.label_studio
    studio = LabelStudio(settings.url, settings.token.get_secret_value(), settings.request_timeout_s)
    studio.check()
    return studio


def all_queues(ws: Workspace) -> list[Queue]:
    """Every queue of the workspace's database."""
    return queues_of(ws.store.batches(), ws.store.annotators(), ws.store.assignments())


def all_pushed(ws: Workspace) -> list[Pushed]:
    """Every project of the workspace's database, with its tasks."""
    return pushed_of(ws.store.batches(), ws.store.tasks())


def ids_of(queues: Sequence[Queue]) -> list[int]:
    """The projects that the queues have so far."""
    return [queue.project_id for queue in queues if queue.project_id is not None]


def check_present(studio: LabelStudio, queues: Sequence[Queue | Pushed], present: Sequence[StudioProject]) -> None:
    ids = {project.project_id for project in present}
    if gone := [q for q in queues if q.project_id is not None and q.project_id not in ids]:
        names = ", ".join(f"{queue.title!r} ({queue.project_id})" for queue in gone)
        raise StudioError(
            f"Label Studio at {studio.url} no longer has {names}: deleted there, or this is another server.",
            fix="Bring it back from Label Studio's backup; or `robopref push --repair` makes it again, for the pairs "
            "that are not answered yet. The answers pulled so far are in the database.",
        )
