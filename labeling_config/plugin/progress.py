"""An annotator's progress through their projects: what is done, what is left, what comes next, and the pace.

A user in, plain records out. Projects are ordered by the phase that their description names (`contract.phase_of`);
those without one come last, by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from labeling_config import contract
from labeling_config.plugin import clips
from labeling_config.plugin.access import owned_project_ids
from labeling_config.plugin.pace import pace_of

UNSEEN = 4
"""One in so many training pairs, at least one, may stay skipped because a clip cannot be shown, so that a broken clip
holds nobody up. Only the annotator's browser can say so. If it says it of more, the training waits for a manager."""
PACE_ANSWERS = 60
"""The pace is that of so many latest answers."""


@dataclass(frozen=True)
class Stage:
    """One project of an annotator, as far as they are in it."""

    project_id: int
    phase: str
    """`training`, `calibration-1`, ..., `production`; empty where the description names none."""
    done: int
    """Pairs answered."""
    skipped: int
    """Pairs skipped and not answered since."""
    left: int
    """Pairs neither answered nor skipped."""
    test: bool = False
    """Answered once, after the training."""
    excused: int = 0
    """Of the skipped pairs, those whose clips could not be shown, as far as the training goes on without them."""
    settled: int = 0
    """Pairs of a training that were closed unasked: others about the same dimension were right (`settled`)."""

    @property
    def to_answer(self) -> int:
        """Pairs still to be answered where all have to be; skipping is no answer."""
        return self.left + self.skipped - self.excused


def stages_of(user: Any) -> list[Stage]:
    """All projects of this annotator, in the order in which they are worked through."""
    stages = [stage_of(user, project) for project in _projects(user)]
    return sorted(stages, key=lambda stage: (contract.place_of(stage.phase), stage.project_id))


def completion(user: Any) -> str:
    """The completion code of somebody from outside who has done their part; else empty."""
    return next((code for project in _projects(user) if (code := contract.completion_of(project.description))), "")


def _projects(user: Any) -> Any:
    """The projects that this annotator owns, as a query."""
    from projects.models import Project  # pyright: ignore[reportMissingImports]

    return Project.objects.filter(id__in=owned_project_ids(user)).only("id", "description")


def stage_of(user: Any, project: Any) -> Stage:
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    project_id, phase, test = project.id, contract.phase_of(project.description), contract.is_final(project.description)
    own = Annotation.objects.filter(project_id=project_id, completed_by=user)
    answered = set(own.filter(was_cancelled=False).values_list("task_id", flat=True))
    skips = own.filter(was_cancelled=True).exclude(task_id__in=answered)
    skipped = set(skips.filter(task__is_labeled=False).values_list("task_id", flat=True))
    left = waiting(user, project_id).count()
    excused, settled = 0, set[int]()
    if contract.is_training(phase):
        why = list(skips.values("task_id", "result", "was_cancelled"))
        settled = {one["task_id"] for one in why if contract.is_settled(one)}
        skipped -= settled
        unseen = {one["task_id"] for one in why if contract.is_unseen(one)} & skipped
        excused = min(len(unseen), max(1, (len(answered) + len(skipped) + left) // UNSEEN))
    return Stage(project_id, phase, len(answered), len(skipped), left, test, excused, len(settled))


def waiting(user: Any, project_id: int) -> Any:
    """The project's tasks that this user has neither answered nor skipped, as a query."""
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    touched = Annotation.objects.filter(project_id=project_id, completed_by=user).values("task_id")
    return Task.objects.filter(project_id=project_id, is_labeled=False).exclude(pk__in=touched)


def finished_since(user: Any, annotation: Any) -> bool:
    """Whether all pairs of a test have been answered since this answer: those that are open now were added later."""
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    own = Annotation.objects.filter(project_id=annotation.project_id, completed_by=user, was_cancelled=False)
    tasks = Task.objects.filter(project_id=annotation.project_id, is_labeled=False)
    left = tasks.exclude(pk__in=own.values("task_id"))
    return not left.filter(created_at__lt=annotation.created_at).exists()


def in_training(stages: Iterable[Stage]) -> bool:
    """Whether a test has to wait: training pairs, skipped ones too, are still to be answered."""
    return any(stage.to_answer for stage in stages if contract.is_training(stage.phase))


def current(stages: Iterable[Stage], passing: int | None = None) -> Stage | None:
    """Where to continue: the first stage with pairs left that may be answered now.

    Args:
        passing: A project to pass over, because it has just served nothing although pairs are left: another session
            has them open.
    """
    stages = list(stages)
    closed = in_training(stages)
    able = (stage for stage in stages if stage.left and not (stage.test and closed))
    return next((stage for stage in able if stage.project_id != passing), None)


def upcoming(user: Any, project: Any, now_at: int) -> list[str]:
    """Addresses of the two clips after task `now_at`; empty if there are none."""
    task = _next_in(waiting(user, project.id).exclude(pk=now_at), project)
    if task is None:
        return []
    found = {side: task.data.get(key) for side, key in clips.SIDES.items()}
    return [clips.shown_address(address, task.id, side) for side, address in found.items() if address]


def is_next(user: Any, task: Any) -> bool:
    """Whether `task` comes next for this annotator, after those that they were served."""
    from tasks.models import TaskLock  # pyright: ignore[reportMissingImports]

    held = TaskLock.objects.filter(user=user, task__project_id=task.project_id).values("task_id")
    return _next_in(waiting(user, task.project_id).exclude(pk__in=held), task.project) == task


def _next_in(open_tasks: Any, project: Any) -> Any:
    """The first of these tasks in Label Studio's order, or None."""
    from django.db.models import Min, Q  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    scored = Min("predictions__score", filter=Q(predictions__model_version=project.model_version))
    task = open_tasks.annotate(place=scored).filter(place__isnull=False).order_by("place", "id").first()
    return task or open_tasks.order_by("id").first()


def pace(user: Any, project_id: int) -> float | None:
    """Pairs per hour over the latest answers in this project; None if there are too few to tell."""
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    own = Annotation.objects.filter(project_id=project_id, completed_by=user, was_cancelled=False)
    own = own.order_by("-created_at")
    return pace_of(list(own.values_list("created_at", flat=True)[:PACE_ANSWERS]))
