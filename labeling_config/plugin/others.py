"""In adjudication: what the others said is given out for one's own answer alone, which is stored first and then stays.

The others' answers are in the task's data, for a server without the plugin. An annotator's account is never shown them
there (`hide`). The screen asks for them with the blind answer; the first one is kept in the task's `meta`, which only
this plugin and managers can write, and an annotation that says something else is refused.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.http import Http404  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from rest_framework.decorators import api_view, permission_classes  # pyright: ignore[reportMissingImports]
from rest_framework.exceptions import ValidationError  # pyright: ignore[reportMissingImports]
from rest_framework.permissions import IsAuthenticated  # pyright: ignore[reportMissingImports]
from rest_framework.response import Response  # pyright: ignore[reportMissingImports]

from labeling_config import contract
from labeling_config.plugin.access import is_manager

BLIND = "robopref_blind"
"""In a task's meta: {user: id, side, confidence}."""


@api_view(["POST"])
@permission_classes([IsAuthenticated])
def others(request: Any, task_id: int) -> Response:
    """The blind answer {side, confidence} in; the one that is kept and what the others said out."""
    from tasks.models import Task  # pyright: ignore[reportMissingImports]

    side, confidence = (request.data.get(name) for name in ("side", "confidence"))
    if side not in contract.SIDES or type(confidence) is not int or confidence not in contract.CONFIDENCES:
        raise ValidationError({"side": "expected left, equal or right, and a confidence from 1 to 5"})
    with transaction.atomic():  # pyright: ignore[reportGeneralTypeIssues]
        # Not FOR UPDATE: as in one_answer
        task = Task.objects.select_for_update(no_key=True).filter(pk=task_id).first()
        if task is None or not is_adjudicated(task):
            raise Http404
        kept = blind_of(request.user, task) or side
        if kept == side and not is_manager(request.user):
            said = {"user": request.user.id, "side": side, "confidence": confidence}
            Task.objects.filter(pk=task_id).update(meta={BLIND: said, **(task.meta or {})})
    return Response({"side": kept, "said": task.data[contract.EXPERT_REASONING]})


def hide(task: dict[str, Any]) -> None:
    """Take the others' answers out of a task as the API shows it to an annotator."""
    data = task.get("data")
    if isinstance(data, dict) and data.get(contract.EXPERT_ANSWER) == contract.OTHERS:
        data[contract.EXPERT_REASONING] = ""


def is_adjudicated(task: Any) -> bool:
    return isinstance(task.data, dict) and task.data.get(contract.EXPERT_ANSWER) == contract.OTHERS


def blind_of(user: Any, task: Any) -> str:
    """left, equal or right, as this person first answered; empty before that."""
    from tasks.models import Annotation  # pyright: ignore[reportMissingImports]

    kept = (task.meta or {}).get(BLIND)
    if isinstance(kept, dict) and kept.get("user") == user.id:
        return str(kept.get("side"))
    own = Annotation.objects.filter(task=task, completed_by=user, was_cancelled=False).order_by("id").first()
    try:
        return contract.answer_of({"result": own.result}).side if own else ""
    except contract.BadAnswer:
        return ""
