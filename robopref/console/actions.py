"""An action of the console: who pressed it, on what, and why it may be refused; and the stages as actions.

A form carries what its subject was when the page was made (`version_of`) and a number of its own (`press`). So an
action on what has changed meanwhile is refused, and a form that arrives twice is one action. One action is looked at
and done at a time, whoever presses. Long work waits in the database for the worker; a stage's action calls the function
of the command of its name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importer.calibration import build as calibrate
from importer.clips.build import build_clips
from importer.pairs.annotators import add_annotators
from importer.pool.build import build_pool
from importer.studio.pull import pull
from importer.studio.push import push
from ml_backend.loop.queue_order import publish
from ml_backend.loop.rounds import update_labels
from preference.errors import NotReady, UserError, needs
from preference.locks import CONSOLE, exclusively
from preference.records import TRAIN, Request
from preference.workspace import Workspace
from qc_reports import certification
from qc_reports.qc import qc

PATIENCE_S = 60.0
"""For another action that is under way."""


class Refused(UserError):
    """The action was not done, and nothing has changed.

    Args:
        status: Of the reply.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Pressed:
    """An action as a manager pressed it."""

    what: str
    subject: str = ""
    by: str = ""
    why: str = ""
    form: Mapping[str, Any] = field(default_factory=dict)
    """Further fields."""

    @classmethod
    def of(cls, request: Request) -> Pressed:
        return cls(request.kind, request.subject, request.by, request.why, request.detail)


@dataclass(frozen=True)
class Action:
    """What a button does."""

    run: Callable[[Workspace, Pressed], str]
    """Does it and says in a sentence what it did; of long work, run again after a kill, only what is missing."""
    state: Callable[[Workspace, str], object]
    """What of its subject must not have changed since the page was made; its `repr` tells."""
    reason: bool = False
    """The protocol wants one."""
    long: bool = False
    """The worker runs it."""
    check: Callable[[Workspace, Pressed], object] | None = None
    """Of long work: raises at once what would only make it fail later."""


@dataclass(frozen=True)
class Page:
    """One page of the console."""

    name: str
    """The last part of its address; empty for the first."""
    title: str
    facts: Callable[[Workspace, Mapping[str, str]], dict[str, Any]]
    """What the template `NAME.html.jinja` shows, for what the address asks."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    """By the words of the command that does the same."""
    files: Mapping[str, Callable[[Workspace, str], Path]] = field(default_factory=dict)
    """What can be had from `NAME/KIND/SUBJECT`."""

    @property
    def template(self) -> str:
        return f"{self.name or 'now'}.html.jinja"


@dataclass(frozen=True)
class Manager:
    """Who is signed in."""

    name: str
    session: str


class Forms:
    """What a page's forms need, for one manager."""

    def __init__(self, ws: Workspace, actions: Mapping[str, Action], manager: Manager) -> None:
        self._ws, self._actions, self.by = ws, actions, manager.name
        self.token = token_of(ws, manager)

    def version(self, what: str, subject: str = "") -> str:
        return version_of(self._ws, self._actions[what], what, subject)

    def reason(self, what: str) -> bool:
        return self._actions[what].reason

    def press(self) -> str:
        """A new form's own number."""
        return secrets.token_urlsafe(12)


def token_of(ws: Workspace, manager: Manager) -> str:
    """What a form must carry, so that it was made here and for this session."""
    key = str(ws.store.secret("console")).encode()
    return hmac.new(key, f"{manager.name}\n{manager.session}".encode(), hashlib.sha256).hexdigest()


def version_of(ws: Workspace, action: Action, what: str, subject: str) -> str:
    """Changes with the action's subject, and when somebody has asked for the same."""
    waiting = [request.request_id for request in ws.store.requests(unfinished=True) if request.kind == what]
    return hashlib.sha256(repr((what, subject, action.state(ws, subject), waiting)).encode()).hexdigest()[:16]


def act(ws: Workspace, action: Action, pressed: Pressed, *, version: str, press: str) -> int:
    """Do it, or hand it to the worker; returns the number of the request that tells what became of it.

    Raises:
        Refused: a reason is missing, or something has changed since the page was made.
        UserError: as the action.
    """
    if action.reason and not pressed.why.strip():
        raise Refused("Give a reason: it is kept with the decision. Nothing was done.")
    if not version or not press:
        raise Refused("This page was made by another version of Robopref. Nothing was done; press again.")
    try:
        with exclusively(ws, CONSOLE, patience_s=PATIENCE_S):
            if known := ws.store.pressed(press):
                return known.request_id
            if not hmac.compare_digest(version, version_of(ws, action, pressed.what, pressed.subject)):
                raise Refused(_changed(ws, pressed), 409)
            return _done(ws, action, pressed, press)
    except NotReady as error:
        if "console lock" in error.message:
            raise Refused("Another action is under way. Nothing was done; press again.", 503) from None
        raise


def _done(ws: Workspace, action: Action, pressed: Pressed, press: str) -> int:
    noted: dict[str, Any] = {
        "subject": pressed.subject, "by": pressed.by, "why": pressed.why.strip(), "detail": dict(pressed.form),
        "press": press,
    }  # fmt: skip
    if action.long:
        if action.check:
            action.check(ws, pressed)
        return ws.store.put_request(pressed.what, **noted)
    said = action.run(ws, pressed)
    return ws.store.put_request(pressed.what, **noted, state="done", result=said)


def _changed(ws: Workspace, pressed: Pressed) -> str:
    """Who changed what, where that is known."""
    same = (r for r in ws.store.requests(newest=20) if r.subject == pressed.subject)
    last = next((r for r in same if not pressed.subject or r.by), None)
    who = f" Last, {last.by or 'somebody'} pressed “{last.kind}” at {last.at[11:16]} UTC." if last else ""
    return f"This has changed since the page was made, so nothing was done.{who} Below is how it stands now."


def pushed(ws: Workspace) -> str:
    """Everything that is planned into Label Studio, as a sentence."""
    made = push(ws, scores=publish(ws))
    if not (made.users or made.projects or made.tasks):
        return "Label Studio has everything."
    return f"{made.users} accounts, {made.projects} projects and {made.tasks} tasks made in Label Studio."


def _pool(ws: Workspace, _: Pressed) -> str:
    made = build_pool(ws)
    failed = f" {len(made.failures)} episodes could not be read: pool/failures.csv." if made.failures else ""
    return " ".join([f"{len(made.trajectories)} trajectories are in the pool.{failed}", *made.notes])


def _clips(ws: Workspace, _: Pressed) -> str:
    made = build_clips(ws)
    failed = f" {len(made.failures)} could not be rendered." if made.failures else ""
    return f"{made.rendered} clips rendered, {made.kept} kept.{failed}"


def _calibration(ws: Workspace, _: Pressed) -> str:
    add_annotators(ws)
    calibrate.build(ws)
    waiting = calibrate.waiting_for_expert(ws)
    then = f" When the expert has answered {waiting} training pairs, build again for the annotators." if waiting else ""
    return f"The calibration sets are there. {pushed(ws)}{then}"


def _pull(ws: Workspace, _: Pressed) -> str:
    found = pull(ws)
    return " ".join([f"{found.new} answers fetched, {found.updated} changed, {found.rejected} rejected.", *found.notes])


def _certify(ws: Workspace, pressed: Pressed) -> str:
    results = certification.certify(ws, pressed.subject or certification.FIRST)
    if not results:
        return f"Nobody has answered all of {pressed.subject or certification.FIRST} yet."
    words = [f"{r.annotator_id}: {'certified' if r.certified else 'undecided' if r.undecided else 'not certified'} "
             f"(kappa {r.kappa:.2f})" for r in results]  # fmt: skip
    return f"{'; '.join(words)}."


def _retest(ws: Workspace, pressed: Pressed) -> str:
    results = certification.certify(ws, pressed.subject or certification.FIRST)
    failed = [r.annotator_id for r in results if not r.certified]
    if failed:
        calibrate.retest(ws, failed)
    return f"What comes next for {', '.join(failed) or 'nobody'} is planned. {pushed(ws)}"


def _qc(ws: Workspace, pressed: Pressed) -> str:
    report = qc(ws, pressed.subject)
    word = {"accepted": "is accepted", "held": "is on hold", "open": "is still open"}[report.status]
    return f"{pressed.subject} {word}. {' '.join(report.reasons)}"


def _resolve(ws: Workspace, _: Pressed) -> str:
    counts = Counter("labelled" if p.preference is not None else p.reason for p in update_labels(ws))
    others = ", ".join(
        f"{number} {reason.replace('_', ' ')}" for reason, number in counts.items() if reason != "labelled"
    )
    return f"{counts['labelled']} pairs have a label{f'; {others}' if others else ''}."


def _train(ws: Workspace, pressed: Pressed) -> str:
    """The worker trains by itself where there is a request (`ml_backend.loop.worker.train_as_requested`)."""
    return ""


def _can_train(ws: Workspace, pressed: Pressed) -> None:
    from ml_backend.loop.train import check_accepted

    needs("torch", "timm")
    check_accepted(ws)


def nothing(ws: Workspace, subject: str) -> object:
    """Of what may be asked for at any time: it does what is missing."""
    return ""


def _certificates(ws: Workspace, subject: str) -> object:
    return [(r.annotator_id, r.batch_id, r.pairs, r.certified) for r in ws.store.certifications()]


def _batch(ws: Workspace, subject: str) -> object:
    return [(b.batch_id, b.status, b.decisions) for b in ws.store.batches() if b.batch_id == subject]


STAGES = {
    "pool": Action(_pool, nothing, long=True),
    "clips": Action(_clips, nothing, long=True),
    "calibration build": Action(_calibration, nothing, long=True),
    "push": Action(lambda ws, _: pushed(ws), nothing, long=True),
    "pull": Action(_pull, nothing, long=True),
    "certify": Action(_certify, nothing),
    "certify --retest": Action(_retest, _certificates, long=True),
    "qc": Action(_qc, _batch, long=True),
    "resolve": Action(_resolve, nothing, long=True),
    TRAIN: Action(_train, nothing, long=True, check=_can_train),
}
