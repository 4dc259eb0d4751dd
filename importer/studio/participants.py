"""People from outside, such as a panel's participants: a signed link makes the account, enough answers give a code.

A participant's id goes in; a link, an account, a completion code and a table come out. Off unless `annotators.outside`
says how many may join. All signatures are HMAC-SHA256 of a purpose and the id, under a secret that the project drew.
An invitation makes an annotator: trained, tested and certified as everybody, and never a manager.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from importer.calibration.build import build
from importer.pairs.leave import add, leave
from importer.studio.client import connect
from labeling_config.contract import completed
from preference.artifacts import write_csv
from preference.errors import NotReady, StudioError, UserError
from preference.locks import JOIN, exclusively
from preference.records import Annotator
from preference.workspace import Workspace

PATH = "/join"
"""Of the page behind a link, on the service."""
PREFIX = "outside-"
"""Begins the ids of people who came by invitation."""
PARTICIPANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def is_outside(annotator_id: str) -> bool:
    """Whether somebody came by invitation; not a person of imported judgments, whose source may begin alike."""
    return annotator_id.startswith(PREFIX) and bool(PARTICIPANT.fullmatch(annotator_id.removeprefix(PREFIX)))


PATIENCE_S = 20.0
"""For somebody else who joins at the same moment."""
COMPLETE = "robopref"
"""Who pauses people who have done their part."""


@dataclass(frozen=True)
class Account:
    """What an invited person signs in with."""

    email: str
    password: str
    url: str
    """Of Label Studio."""
    answers: int
    """Production pairs answered so far."""
    wanted: int
    code: str
    """The completion code; empty before all are answered."""


def participant_of(text: str) -> str:
    """The id as it counts: in lower case.

    Raises:
        UserError: it is no id.
    """
    found = text.strip().lower()
    if not PARTICIPANT.fullmatch(found):
        raise UserError(
            f"{text[:60]!r} is not a participant id.",
            fix="Use up to 40 letters, digits, - and _; the first is a letter or digit.",
        )
    return found


def invitation(ws: Workspace, participant: str) -> str:
    """The link that makes, and later shows, this participant's account.

    Raises:
        UserError: nobody may join, there is no address to join at, or it is no id.
    """
    _check_on(ws)
    if not ws.config.service.address:
        raise UserError("The link needs the ML backend's address.", fix="Set service.url, or run `robopref up`.")
    who = participant_of(participant)
    return f"{ws.config.service.address}{PATH}?{urlencode({'participant': who, 'key': key_of(ws, who)})}"


def key_of(ws: Workspace, participant: str) -> str:
    """What an invitation is signed with."""
    return _signed(ws, "invitation", participant).hex()[:32]


def completion_code(ws: Workspace, participant: str) -> str:
    """Ten letters and digits, the same whenever it is asked for."""
    text = base64.b32encode(_signed(ws, "completion", participant)).decode()
    return f"{text[:5]}-{text[5:10]}"


def join(ws: Workspace, participant: str, key: str) -> Account | None:
    """The account of whoever has this link, made where there is none yet.

    Returns:
        None where the link is not ours.

    Raises:
        UserError: nobody may join, all places are taken, or this person was removed.
        StudioError: Label Studio is away, or lacks the plugin: every account there could read and change everything.
    """
    _check_on(ws)
    try:
        who = participant_of(participant)
    except UserError:
        return None
    if not hmac.compare_digest(key.encode(), key_of(ws, who).encode()):
        return None
    name = PREFIX + who
    email = f"{name}@{ws.config.annotators.email_domain.lower()}"
    try:
        with exclusively(ws, JOIN, patience_s=PATIENCE_S):  # two at once must not both find the last place free
            return _admitted(ws, who, name, email)
    except NotReady:
        raise UserError("Others are joining at this moment.", fix="Try again in a minute.") from None


def _admitted(ws: Workspace, who: str, name: str, email: str) -> Account:
    known = {annotator.annotator_id: annotator for annotator in ws.store.annotators()}
    if name not in known and sum(map(is_outside, known)) >= ws.config.annotators.outside:
        raise UserError("All places are taken.", fix="Tell whoever invited you.")
    if name in known and known[name].away.startswith("Removed"):
        raise UserError("This invitation is no longer valid.", fix="Tell whoever invited you.")
    password = base64.urlsafe_b64encode(_signed(ws, "password", who)).decode()[:20]
    studio = connect(ws)
    if studio.plugin_health() is None:
        raise StudioError("People from outside need a Label Studio with the plugin.", fix="See docs/access.md.")
    studio.ensure_user(email, password)
    if name not in known:
        add(ws, email, by="invitation", why=f"participant {who}")
        with contextlib.suppress(NotReady):  # a manager's `robopref calibration build` gives them their sets later
            build(ws)
    return Account(email, password, ws.config.label_studio.address, *_progress(ws, name), _code_if_done(ws, name))


def finish_outside(ws: Workspace) -> list[str]:
    """Pause whoever has answered `annotators.outside_pairs`, after their page got the code; returns who.

    Raises:
        StudioError: Label Studio is down or refuses us.
    """
    if not ws.config.annotators.outside:
        return []
    done = [a.annotator_id for a in _outside(ws) if a.active and _is_done(ws, a.annotator_id)]
    own = {name: {p for who, _, p, _ in ws.store.tasks() if who == name} for name in done}
    for name in done:
        studio, code = connect(ws), completion_code(ws, name.removeprefix(PREFIX))
        for project in studio.projects(sorted(own[name])):
            if (wanted := completed(project.description, code)) != project.description:
                studio.describe(project.project_id, wanted)
        leave(ws, name, "Paused", by=COMPLETE, why=f"answered the {ws.config.annotators.outside_pairs} pairs agreed on")
    return done


def export_participants(ws: Workspace, path: Path) -> int:
    """A CSV file of who did what, a row for each person who came by invitation; returns how many."""
    import pandas as pd

    certified = set(ws.store.certified()) | {r.annotator_id for r in ws.store.certifications() if r.certified}
    tests = set(ws.store.calibration_sets())
    counts: dict[tuple[str, bool], int] = {}
    for name, batch_id, answered in ws.store.answers_by_annotator():
        counts[name, batch_id in tests] = counts.get((name, batch_id in tests), 0) + answered
    last = ws.store.last_answers()
    rows = [
        {
            "participant": a.annotator_id.removeprefix(PREFIX),
            "annotator_id": a.annotator_id,
            "joined": a.added,
            "state": "active" if a.active else a.away,
            "certified": a.annotator_id in certified,
            "calibration_answers": counts.get((a.annotator_id, True), 0),
            "production_answers": counts.get((a.annotator_id, False), 0),
            "last_answer": last.get(a.annotator_id, ""),
            "completion_code": _code_if_done(ws, a.annotator_id),
        }
        for a in _outside(ws)
    ]
    columns = ["participant", "annotator_id", "joined", "state", "certified", "calibration_answers",
               "production_answers", "last_answer", "completion_code"]  # fmt: skip
    write_csv(path, pd.DataFrame(rows, columns=columns))
    return len(rows)


def _check_on(ws: Workspace) -> None:
    if not ws.config.annotators.outside:
        raise UserError("Nobody may join from outside.", fix="Set annotators.outside to the number of places.")


def _outside(ws: Workspace) -> list[Annotator]:
    return [a for a in ws.store.annotators() if is_outside(a.annotator_id) and a.role == "annotator"]


def _progress(ws: Workspace, name: str) -> tuple[int, int]:
    """Production pairs answered, and how many were agreed on."""
    tests = set(ws.store.calibration_sets())
    done = sum(
        count for who, batch_id, count in ws.store.answers_by_annotator() if who == name and batch_id not in tests
    )
    return done, ws.config.annotators.outside_pairs


def _is_done(ws: Workspace, name: str) -> bool:
    done, wanted = _progress(ws, name)
    return done >= wanted


def _code_if_done(ws: Workspace, name: str) -> str:
    return completion_code(ws, name.removeprefix(PREFIX)) if _is_done(ws, name) else ""


def _signed(ws: Workspace, purpose: str, participant: str) -> bytes:
    secret = ws.store.salt().to_bytes(16, "big")  # the project's own, also where robopref.toml names a salt
    return hmac.new(secret, f"{purpose} {participant}".encode(), hashlib.sha256).digest()
