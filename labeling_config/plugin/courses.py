"""An annotator's course through their projects: how far they are, what they are shown next, how fast they go.

A user in, plain records out. A project's place in the course is the phase that its description names
(`contract.phase_of`); those without one come last, in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from labeling_config import contract
from labeling_config.plugin.access import owned_project_ids
from labeling_config.plugin.pace import pace_of

PACE_ANSWERS = 60
"""The latest answers that the pace is taken from."""


@dataclass(frozen=True)
class Stage:
    """One project of the course."""

    project_id: int
    phase: str
    """`training`, `calibration-1`, ..., `production`; empty where the description names none."""
    done: int
    """Pairs answered."""
    skipped: int
    """Pairs skipped and not answered since."""
    left: int
    """Pairs neither answered nor skipped."""


def course(user: Any) -> list[Stage]:
    """All stages of this annotator, in the order in which they are gone through."""
    from projects.models import Project  # pyright: ignore[reportMissingImports]

    own = Project.objects.filter(id__in=owned_project_ids(user)).only("id", "description")
    places = {project.id: contract.phase_of(project.description) for project in own}
    ordered = sorted(places, key=lambda project_id: (contract.place_of(places[project_id]), project_id))
    return [stage_of(user, project_id, places[project_id]) for project_id in ordered]


def stage_of(user: Any, project_id: int, phase: str = "") -> Stage:
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    own = Annotation.objects.filter(project_id=project_id, completed_by=user)
    answered = set(own.filter(was_cancelled=False).values_list("task_id", flat=True))
    skipped = set(own.filter(was_cancelled=True, task__is_labeled=False).values_list("task_id", flat=True)) - answered
    return Stage(project_id, phase, len(answered), len(skipped), waiting(user, project_id).count())


def waiting(user: Any, project_id: int) -> Any:
    """The project's tasks that this user has neither answered nor skipped, as a query."""
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    touched = Annotation.objects.filter(project_id=project_id, completed_by=user).values("task_id")
    return Task.objects.filter(project_id=project_id, is_labeled=False).exclude(pk__in=touched)


def current(stages: Iterable[Stage], passing: int | None = None) -> Stage | None:
    """Where to go on: the first stage with pairs left.

    Args:
        passing: A project that has just served nothing although pairs are left there: somebody else has them open.
    """
    return next((stage for stage in stages if stage.left and stage.project_id != passing), None)


def upcoming(user: Any, project: Any, now_at: int) -> list[str]:
    """Addresses of the two clips that come after task `now_at`, as Label Studio's queue is ordered; or none."""
    from django.db.models import Min, Q  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    open_tasks = waiting(user, project.id).exclude(pk=now_at)
    scored = Min("predictions__score", filter=Q(predictions__model_version=project.model_version))
    task = open_tasks.annotate(place=scored).filter(place__isnull=False).order_by("place", "id").first()
    task = task or open_tasks.order_by("id").first()
    if task is None:
        return []
    data = task.resolve_uri(dict(task.data), project)
    return [str(data[key]) for key in (contract.VIDEO_LEFT, contract.VIDEO_RIGHT) if data.get(key)]


def pace(user: Any) -> float | None:
    """Pairs per hour over the latest answers; None where there are too few to tell."""
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    own = Annotation.objects.filter(completed_by=user, was_cancelled=False).order_by("-created_at")
    return pace_of(list(own.values_list("created_at", flat=True)[:PACE_ANSWERS]))
