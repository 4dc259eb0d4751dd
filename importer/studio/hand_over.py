"""What people left open goes to others: assignments of annotators who are away, or whose certificate was taken back.

In: the database and Label Studio. Out: these assignments have another annotator and wait for a task, or are gone where
everybody who is certified has seen the pair, and for second showings. Their tasks are deleted in Label Studio first, so
a kill at any moment leaves something that the next run finishes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from importer.pairs.annotators import certified_ids
from importer.pairs.assignments import choose_unseen
from importer.studio.client import connect
from importer.studio.owners import close_projects
from importer.studio.pull import pull_tasks
from preference.locks import PUSH, exclusively
from preference.records import AssignmentView
from preference.workspace import Workspace

PATIENCE_S = 600.0
"""How long it waits for a push that is under way."""


@dataclass(frozen=True)
class HandedOver:
    """What became of the open assignments of those who left."""

    moved: int = 0
    dropped: int = 0


def hand_over(ws: Workspace) -> HandedOver:
    """Give the open pairs of those who left to certified annotators who have not seen them, and close the projects of
    those who will not be back.

    Raises:
        StudioError: Label Studio, which has their tasks, is down or refuses us; nothing was changed.
    """
    close_projects(ws)
    if not _left_open(ws):
        return HandedOver()
    with exclusively(ws, PUSH, patience_s=PATIENCE_S):
        tasks = [t for v in _left_open(ws) if (t := v.assignment.task_id) is not None and t > 0]
        if tasks:
            studio = connect(ws)
            pull_tasks(ws, studio, tasks)  # what was answered up to now is theirs
            for project_id, own in _by_project(_left_open(ws)).items():
                studio.delete_tasks(project_id, own)
        return _reassign(ws, _left_open(ws))


def _gone(ws: Workspace) -> set[str]:
    """Annotators who are away, and those whose certificate was taken back."""
    latest = {record.annotator_id: record for record in ws.store.certifications()}
    revoked = {name for name, record in latest.items() if record.revoked}
    people = [annotator for annotator in ws.store.annotators() if annotator.role == "annotator"]
    return {a.annotator_id for a in people if not a.active or a.annotator_id in revoked}


def _left_open(ws: Workspace) -> list[AssignmentView]:
    """Neither answered nor skipped; without those that somebody was shown again and answered before."""
    gone = _gone(ws)
    if not gone:
        return []
    done = ws.store.answered() | ws.store.skipped().keys()
    views = ws.store.assignments(calibration=False)
    repeated = {v.assignment.duplicate_of for v in views if v.assignment.assignment_id in done}
    return [
        view
        for view in views
        if view.assignment.annotator_id in gone and view.assignment.assignment_id not in done | repeated
    ]


def _by_project(views: Sequence[AssignmentView]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for view in views:
        a = view.assignment
        if a.project_id is not None and a.task_id is not None and a.task_id > 0:
            found[a.project_id].append(a.task_id)
    return found


def _reassign(ws: Workspace, views: Sequence[AssignmentView]) -> HandedOver:
    firsts = [view for view in views if view.assignment.duplicate_of is None]
    seen: dict[str, set[str]] = defaultdict(set)
    places: dict[tuple[str, str], int] = defaultdict(int)
    for view in ws.store.assignments(calibration=False):
        a = view.assignment
        seen[a.pair_id].add(a.annotator_id)
        places[a.annotator_id, a.batch_id] = max(places[a.annotator_id, a.batch_id], a.position + 1)
    left_out = {(r.batch_id, r.annotator_id) for r in ws.store.reviews() if r.verdict == "leave_out"}
    people = sorted(set(certified_ids(ws)) - _gone(ws))
    unwanted = [
        seen[v.assignment.pair_id] | {name for name in people if (v.assignment.batch_id, name) in left_out}
        for v in firsts
    ]
    keys = " ".join(sorted(view.assignment.assignment_id for view in firsts))
    chosen = choose_unseen(unwanted, people, ws.rng(f"hand over {keys}"))
    moves = []
    for view, name in zip(firsts, chosen, strict=True):
        if name is not None:
            place = places[name, view.assignment.batch_id]
            places[name, view.assignment.batch_id] += 1
            moves.append((view.assignment.assignment_id, name, place))
    kept = {assignment_id for assignment_id, _, _ in moves}
    dropped = [view.assignment.assignment_id for view in views if view.assignment.assignment_id not in kept]
    # second showings refer to the first
    repeats = {v.assignment.assignment_id for v in views if v.assignment.duplicate_of is not None}
    ws.store.reassign(moves, sorted(dropped, key=lambda key: key not in repeats))
    return HandedOver(len(moves), len(dropped))
