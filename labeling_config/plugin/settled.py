"""A training skips what is known: enough right answers in a row about one dimension close its other pairs.

An answer that was just stored goes in. The first that its annotator gave to the pair counts, kept in the task's `meta`:
the expert's word is on the screen afterwards. How many have to be right depends on the kind's size
(`contract.in_a_row`), so that guessing closes few. The pairs of the dimension that are still open get a skip in the
annotator's name that says why, so Label Studio serves them no more, and `robopref pull` finds each of them closed, not
lost. They can still be answered. A pair of no dimension is never skipped.
"""

from typing import Any

from labeling_config import contract
from labeling_config.plugin import progress

FIRST = "robopref_first"
"""In a task's meta: {user's id: whether their first answer was the expert's}."""


def note(answer: Any) -> None:
    """Keep whether this answer is right, where it is its annotator's first to a training pair."""
    from tasks.models import Task  # pyright: ignore[reportMissingImports]

    task = answer.task
    if not contract.is_training(contract.phase_of(task.project.description)):
        return
    meta = Task.objects.filter(pk=task.pk).values_list("meta", flat=True).first() or {}
    known, who = meta.get(FIRST, {}), str(answer.completed_by_id)
    if who not in known:
        right = contract.agrees({"result": answer.result}, task.data)
        task.meta = meta | {FIRST: known | {who: right}}  # the view saves this object, too
        Task.objects.filter(pk=task.pk).update(meta=task.meta)


def close(answer: Any) -> None:
    """Close what this new answer, a row of Label Studio's annotations, settles in its training."""
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    project, about, user = answer.task.project, _dimension(answer.task), answer.completed_by
    if not (about and contract.is_training(contract.phase_of(project.description))):
        return
    kind = {task.pk: task for task in Task.objects.filter(project=project) if _dimension(task) == about}
    own = Annotation.objects.filter(task__in=kind, completed_by=user, was_cancelled=False).order_by("-id")
    needed = contract.in_a_row(len(kind))
    latest = list(own.values_list("task_id", "result"))[:needed]
    right = [_first(kind[pk], user, result) for pk, result in latest]
    if len(right) < needed or not all(right):
        return
    for task in progress.waiting(user, project.id):
        if task.pk in kind:
            skip = {"was_cancelled": True, "result": contract.settled_result()}
            Annotation.objects.create(task=task, project=project, completed_by=user, **skip)
            # a skip leaves the pair in the queue of skipped ones; this takes it out
            Task.objects.filter(pk=task.pk).update(is_labeled=True)


def _first(task: Any, user: Any, result: Any) -> bool:
    """Whether the first answer was right; of one from before this was kept, as it is now."""
    known = (task.meta or {}).get(FIRST, {})
    return known.get(str(user.pk), contract.agrees({"result": result}, task.data))


def _dimension(task: Any) -> str:
    return str(task.data.get(contract.DIMENSION) or "") if isinstance(task.data, dict) else ""
