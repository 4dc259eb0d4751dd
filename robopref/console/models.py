"""Models: which one is in use and whether it can be trusted, and whether more answers are worth asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.loop.models import before_active, promote, roll_back
from ml_backend.validation.learning_curve import accuracy_of, course_of, labels_for, outlook, why_stop
from preference.artifacts import confined
from preference.errors import NotReady, needs
from preference.records import GO_ON, STOP, TRAIN, ModelVersion
from preference.workspace import Workspace
from robopref.console.actions import STAGES, Action, Page, Pressed, nothing

NEXT = 100
"""Answers whose worth the page tells."""
VALIDATION = "validation.html"


@dataclass(frozen=True)
class Point:
    """A model on the learning curve; places are percentages of the picture."""

    version: str
    labels: int
    accuracy: float
    low: float | None
    high: float | None
    x: float
    y: float
    top: float
    bottom: float


def facts(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    known = ws.store.model_versions()
    active = next((m for m in known if m.active), None)
    ahead = outlook(course_of(known), ws.config.active.model_copy(update={"pairs": NEXT}))
    target = next((m.metrics["target"] for m in known[::-1] if m.metrics.get("target") is not None), None)
    return {
        "models": known[::-1],
        "active": active,
        "accuracy": {m.version: accuracy_of(m) for m in known},
        "validated": {m.version for m in known if (page_of(ws, m.version) or Path()).is_file()},
        "before": before.version if (before := before_active(known)) else "",
        "curve": curve(known),
        "target": target,
        "needed": labels_for(target, known) if target is not None else None,
        "ahead": ahead,
        "next": NEXT,
        "stop": why_stop(known, ws.config.active).removesuffix("--force goes on").rstrip("; "),
        "stopped": ws.store.stopped_rounds(),
        "labels": len(ws.store.labelled()) if ws.store.resolved() else 0,
        "least": ws.config.reward.min_preferences,
        "train": TRAIN,
    }


def curve(known: list[ModelVersion]) -> list[Point]:
    """Accuracy by labels, on an axis from the fewest to the most labels and from 0.5 to 1."""
    rows = [(m, accuracy_of(m)) for m in known]
    rows = [(m, found) for m, found in rows if found.get("value") is not None]
    least, most = min((m.preferences for m, _ in rows), default=0), max((m.preferences for m, _ in rows), default=0)

    def height(value: float) -> float:
        return round(100 * (1 - min(max(2 * value - 1, 0.0), 1.0)), 2)

    found = []
    for m, figures in rows:
        value, low, high = figures["value"], figures.get("low"), figures.get("high")
        x = 5 + 90 * (m.preferences - least) / (most - least) if most > least else 50.0
        ends = (height(high if high is not None else value), height(low if low is not None else value))
        found.append(Point(m.version, m.preferences, value, low, high, round(x, 2), height(value), *ends))
    return found


def page_of(ws: Workspace, version: str) -> Path | None:
    record = next((m for m in ws.store.model_versions() if m.version == version), None)
    return confined(ws.root, record.path) / VALIDATION if record else None


def _page(ws: Workspace, version: str) -> Path:
    return page_of(ws, version) or Path()


def _promote(ws: Workspace, pressed: Pressed) -> str:
    return f"{promote(ws, pressed.subject).version} is in use. It ranks what is asked, and goes into the next release."


def _roll_back(ws: Workspace, _: Pressed) -> str:
    return f"{roll_back(ws).version} is in use again."


def _validate(ws: Workspace, pressed: Pressed) -> str:
    from ml_backend.loop.validate import validate_model

    found = validate_model(ws, pressed.subject)
    return f"{found.version} {'reached every target' if found.trusted else 'missed a target'}. {found.verdict}".strip()


def _round(ws: Workspace, pressed: Pressed) -> str:
    from ml_backend.loop.rounds import run_round

    result = run_round(ws)
    if result.batch is None:
        return f"Nothing was asked: {result.waiting_for}."
    return f"{result.batch.batch_id} asks {result.pairs} pairs."


def _can_round(ws: Workspace, pressed: Pressed) -> None:
    needs("torch", "timm")
    if ws.store.active_model() is None and not ws.store.resolved():
        raise NotReady("Nothing has been resolved yet.", fix="Check and resolve the first batch before.")


def _stop(ws: Workspace, _: Pressed) -> str:
    return "The worker makes no more rounds by itself. People finish what they have."


def _go_on(ws: Workspace, _: Pressed) -> str:
    return "The worker makes rounds by itself again."


def _models(ws: Workspace, subject: str) -> object:
    return [(m.version, m.active, m.verdict) for m in ws.store.model_versions()]


def _rounds(ws: Workspace, subject: str) -> object:
    return ws.store.stopped_rounds() is None, [b.batch_id for b in ws.store.batches()]


PAGE = Page(
    "models",
    "Models",
    facts,
    {
        TRAIN: STAGES[TRAIN],
        "validate": Action(_validate, nothing, long=True, check=lambda ws, p: needs("torch", "timm")),
        "models promote": Action(_promote, _models, reason=True),
        "models rollback": Action(_roll_back, _models, reason=True),
        "round": Action(_round, _rounds, long=True, check=_can_round),
        STOP: Action(_stop, _rounds, reason=True),
        GO_ON: Action(_go_on, _rounds, reason=True),
    },
    {"validation": _page},
)
