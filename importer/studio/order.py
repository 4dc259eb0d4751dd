"""The order in which Label Studio serves open tasks: whose scores it follows, and new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from importer.studio.client import connect
from preference.work import progress
from preference.workspace import Workspace


def out_of_order(ws: Workspace, model_version: str) -> bool:
    """Whether a project with open tasks serves them in the order of another model than `model_version`."""
    projects = ws.store.open_projects()
    served = [project.model_version for project in connect(ws).projects(projects)] if projects else []
    return any(version.partition("+")[0] != model_version for version in served)


def rescore(ws: Workspace, scores: Mapping[str, float], model_version: str) -> int:
    """Give open tasks new places in their queues; the lowest score is served first.

    Args:
        scores: `assignment_id` → score; those without a task, and those answered, are left aside.
        model_version: Whose scores they are.

    Returns:
        How many tasks have new scores.
    """
    answered = ws.store.answered()
    places: dict[int, dict[int, float]] = defaultdict(dict)
    for view in ws.store.assignments():
        a = view.assignment
        if a.assignment_id in scores and a.assignment_id not in answered and a.project_id and a.task_id:
            places[a.project_id][a.task_id] = scores[a.assignment_id]
    if places:
        studio = connect(ws)
        with progress("New order of the open tasks", len(places)) as advance:
            for project_id, by_task in places.items():
                studio.set_scores(project_id, by_task, model_version)
                advance(1)
    return sum(map(len, places.values()))
