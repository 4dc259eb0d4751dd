"""What Label Studio's answers mean: its JSON in, our records or one readable line out. Nothing here talks to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StudioProject:
    """A project as Label Studio lists it."""

    project_id: int
    title: str
    description: str
    model_version: str
    tasks: int
    annotations: int
    """Skipped ones too."""
    template: str = ""


@dataclass(frozen=True)
class StudioTask:
    """A task with all its annotations."""

    task_id: int
    updated_at: str
    """ISO 8601; moves when an annotation is made, changed or deleted."""
    annotations: list[dict[str, Any]]


def project_of(found: Any) -> StudioProject:
    return StudioProject(
        project_id=int(found.id),
        title=str(found.title or ""),
        description=str(found.description or ""),
        model_version=str(found.model_version or ""),
        tasks=int(found.task_number or 0),
        annotations=int(found.total_annotations_number or 0) + int(found.skipped_annotations_number or 0),
        template=str(found.label_config or ""),
    )


def task_filter(column: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    item = {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
    return {"filters": {"conjunction": "and", "items": [item]}}


def next_version(present: Iterable[str], wanted: str) -> str:
    """`wanted`, or where there is one of that name already `wanted+1`, `wanted+2`, ..."""
    taken = set(present)
    names = itertools.chain([wanted], (f"{wanted}+{number}" for number in itertools.count(1)))
    return next(name for name in names if name not in taken)


def differs(found: Any, wanted: Any) -> bool:
    return sorted(found or []) != sorted(wanted) if isinstance(wanted, list) else found != wanted


def said_in(body: Any) -> str:
    """The explanation in Label Studio's error answer."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return "without an explanation."
    if not isinstance(body, dict):
        return str(body)[:300]
    details = body.get("validation_errors") or {}
    lines = [f"{key}: {value}" for key, value in details.items()] if isinstance(details, dict) else [str(details)]
    return "; ".join([str(body.get("detail", "")), *lines])[:500]
