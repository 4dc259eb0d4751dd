"""Now: where the campaign stands, the one thing to do next, and what the machine is doing."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from importer.pairs.annotators import certified_ids
from preference.locks import LEARNING, WORKER, taken
from preference.records import CALIBRATION
from preference.workspace import Workspace
from robopref.campaign import hourly_of
from robopref.console.actions import STAGES, Action, Page, Pressed, Refused
from robopref.status import Status, Step, status

RECENT = timedelta(days=7)
"""By which the rate is measured."""
HISTORY = 8
"""Requests that the page shows."""
ELSEWHERE = {"pairs": "batches", "batch review": "batches", "batch accept": "batches", "round": "models",
             "validate": "models", "annotators add": "people", "release": "releases"}  # fmt: skip
"""Commands whose button needs more than a press → their page."""


@dataclass(frozen=True)
class Stage:
    """One stage of the protocol's path."""

    title: str
    words: str
    done: bool


@dataclass(frozen=True)
class Pace:
    """How fast answers come, and what is left; nan where it is not known."""

    open: int
    per_day: float
    """Over the last week."""
    finish: str
    """ISO 8601; empty where no answers come."""
    hourly: tuple[float, float]
    """Answers an hour of the slowest and the quickest person."""
    measured: int
    """People whose own pace that is; 0 = the protocol's."""
    hours: tuple[float, float]
    cost: tuple[float, float]


def facts(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    found = status(ws)
    current = Step(found.stage, found.next, found.why)
    what, subject = command_of(current.command)
    busy = taken(ws, LEARNING)
    wage = _number(asked.get("wage", ""))
    return {
        "path": path(ws, found),
        "step": current,
        "what": what if what in STAGES else "",
        "subject": subject,
        "elsewhere": ELSEWHERE.get(what, ""),
        "activity": ws.store.activity() if busy else None,
        "busy": busy,
        "worker": taken(ws, WORKER),
        "waiting": ws.store.requests(unfinished=True)[::-1],
        "history": [r for r in ws.store.requests(newest=4 * HISTORY) if r.by and r.ended][:HISTORY],
        "owed": found.owed,
        "counts": found.counts,
        "notes": found.notes,
        "wage": wage,
        "pace": pace(ws, wage),
    }


def command_of(command: str) -> tuple[str, str]:
    """`robopref qc --batch b-1` → ("qc", "b-1"): the action of that name and its subject."""
    words = shlex.split(command)[1:]
    named = [word for word in words if word.isalpha() and word.islower()][:2]
    subject = words[words.index("--batch") + 1] if "--batch" in words else ""
    for name in (" ".join(named), named[0] if named else ""):
        if name in STAGES or name in ELSEWHERE:
            return (f"{name} --retest" if "--retest" in words else name), subject
    return "", ""


def path(ws: Workspace, found: Status) -> list[Stage]:
    """The protocol's stages; the first that is not done is where the campaign stands."""
    counts, batches = found.counts, ws.store.batches()
    certified, needed = len(certified_ids(ws)), ws.config.pairs.overlap
    asked = [b for b in batches if b.kind == "production"]
    accepted = sum(b.status == "accepted" for b in asked)
    rounds = [b for b in batches if b.kind == "active"]
    sets = sum(b.kind == CALIBRATION for b in batches)
    released = len(list(ws.releases.glob("*.tar.gz.sha256")))
    return [
        Stage("Pool", f"{counts['trajectories']} trajectories", bool(counts["trajectories"])),
        Stage("Clips", f"{counts['clips']} of {counts['trajectories']}", counts["clips"] >= counts["trajectories"] > 0),
        Stage("Calibration", f"{sets} sets", sets > 0),
        Stage("Certification", f"{certified} certified, {needed} needed", certified >= needed),
        Stage("Batches", f"{accepted} of {len(asked)} accepted", accepted == len(asked) > 0),
        Stage("Rounds", f"{len(rounds)} so far, {counts['labels']} labels", bool(rounds) and counts["models"] > 0),
        Stage("Release", f"{released} so far", released > 0),
    ]


def pace(ws: Workspace, wage: float = math.nan) -> Pace:
    """From the times of all answers but calibration's."""
    now = datetime.now(UTC)
    recent = [at for _, stamp in ws.store.answer_times() if (at := _moment(stamp)) and now - at <= RECENT]
    days = max((now - min(recent)) / timedelta(days=1), 1.0) if recent else math.nan
    per_day = len(recent) / days if recent else 0.0
    waiting = sum(ws.store.open_by_batch().values())
    (slow, quick), measured = hourly_of(ws)
    hours = waiting / quick, waiting / slow
    finish = (now + timedelta(days=waiting / per_day)).isoformat(timespec="minutes") if per_day and waiting else ""
    return Pace(waiting, per_day, finish, (slow, quick), measured, hours, (hours[0] * wage, hours[1] * wage))


def _moment(stamp: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _number(text: str) -> float:
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return math.nan
    return found if 0 < found < 1e6 else math.nan


def _withdraw(ws: Workspace, pressed: Pressed) -> str:
    number = int(pressed.subject) if pressed.subject.isdecimal() else 0
    if not ws.store.withdraw_request(number, f"Withdrawn by {pressed.by}."):
        raise Refused("The worker has begun it, so it goes on. Nothing was withdrawn.", 409)
    return "Withdrawn before the worker began it."


def _request(ws: Workspace, subject: str) -> object:
    return [r.state for r in ws.store.requests(unfinished=True) if str(r.request_id) == subject]


PAGE = Page("", "Now", facts, {**STAGES, "withdraw": Action(_withdraw, _request)})
