"""A training skips what is known: three right answers in a row about one dimension close its other pairs.

An answer that was just stored goes in. The pairs of its dimension that are still open get a skip in the annotator's
name that says why, so Label Studio serves them no more, and `robopref pull` finds each of them closed, not lost. They
can still be answered. A pair of no dimension is never skipped.
"""

from typing import Any

from labeling_config import contract
from labeling_config.plugin import progress


def close(answer: Any) -> None:
    """Close what this new answer, a row of Label Studio's annotations, settles in its training."""
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    project, about = answer.task.project, _dimension(answer.task)
    if not (about and contract.is_training(contract.phase_of(project.description))):
        return
    own = Annotation.objects.filter(project=project, completed_by=answer.completed_by, was_cancelled=False)
    latest = [one for one in own.select_related("task").order_by("-id") if _dimension(one.task) == about]
    right = [contract.agrees({"result": one.result}, one.task.data) for one in latest[: contract.IN_A_ROW]]
    if len(right) < contract.IN_A_ROW or not all(right):
        return
    for task in progress.waiting(answer.completed_by, project.id):
        if _dimension(task) == about:
            skip = {"was_cancelled": True, "result": contract.settled_result()}
            Annotation.objects.create(task=task, project=project, completed_by=answer.completed_by, **skip)
            # a skip leaves the pair in the queue of skipped ones; this takes it out
            Task.objects.filter(pk=task.pk).update(is_labeled=True)


def _dimension(task: Any) -> str:
    return str(task.data.get(contract.DIMENSION) or "") if isinstance(task.data, dict) else ""
