"""Whose each project is, on a server with the plugin: those who left lose theirs, those who are back get it again.

A line of the project's description says it (`contract.owner_line`). Without this, somebody who left could go on
changing answers in batches that are not accepted yet.
"""

from __future__ import annotations

from collections.abc import Iterable

from importer.studio.client import LabelStudio, connect
from importer.studio.replies import StudioProject
from labeling_config.contract import closed_to, opened_to
from preference.workspace import Workspace


def closed_projects(ws: Workspace) -> set[int]:
    """Projects that are closed to their annotators.

    All of somebody who was removed, or whom robopref.toml no longer names; of somebody whose certificate was taken back
    those of production, as they may be tested again. A pause closes nothing.
    """
    latest = ws.store.latest_certifications()
    revoked = {name for name, record in latest.items() if record.revoked}
    people = [annotator for annotator in ws.store.annotators() if annotator.role == "annotator"]
    left = {a.annotator_id for a in people if not a.active and not a.away.startswith("Paused")}
    tests = set(ws.store.calibration_sets())
    return {
        project_id
        for name, batch_id, project_id, _ in ws.store.tasks()
        if name in left or (name in revoked and batch_id not in tests)
    }


def close_projects(ws: Workspace) -> None:
    """Close what is to be closed and is not yet; asks Label Studio only if there is something.

    Raises:
        StudioError: Label Studio is down or refuses us.
    """
    if closed := closed_projects(ws):
        studio = connect(ws)
        update_owners(ws, studio, studio.projects(sorted(closed)))


def reopen_projects(ws: Workspace, annotator_id: str) -> None:
    """Give an annotator who is back what they had.

    Raises:
        StudioError: Label Studio is down or refuses us; the next push does it.
    """
    if own := {project_id for name, _, project_id, _ in ws.store.tasks() if name == annotator_id}:
        studio = connect(ws)
        update_owners(ws, studio, studio.projects(sorted(own)))


def update_owners(ws: Workspace, studio: LabelStudio, projects: Iterable[StudioProject]) -> None:
    """Write the descriptions that differ; what a person wrote into one stays."""
    emails = {annotator.annotator_id: annotator.email for annotator in ws.store.annotators()}
    email_of = {project_id: emails[name] for name, _, project_id, _ in ws.store.tasks()}
    closed = closed_projects(ws)
    for project in projects:
        if (email := email_of.get(project.project_id)) is None:
            continue
        change = closed_to if project.project_id in closed else opened_to
        if (wanted := change(project.description, email)) != project.description:
            studio.describe(project.project_id, wanted)
