"""People come and go: a manager adds, pauses or removes an annotator; who did it, when and why is recorded.

It changes the database only: what they left open goes to others by `importer.studio.hand_over`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from importer.pairs.annotators import certified_ids, id_of
from preference.errors import UserError
from preference.records import Annotator, Role
from preference.signed import signed
from preference.workspace import Workspace

Away = Literal["Paused", "Removed"]


@dataclass(frozen=True)
class Standing:
    """An annotator and how they stand."""

    annotator_id: str
    email: str
    role: str
    state: str
    """`active`, `paused`, `removed`, or `not named` by robopref.toml any more."""
    certified: bool
    answered: int
    open: int
    """Pairs without an answer, calibration aside."""
    why: str
    """Who decided, when and why."""


def add(ws: Workspace, who: str, *, by: str, why: str, role: Role = "annotator") -> Annotator:
    """Somebody new by their e-mail address, or somebody back from a pause, by id or address.

    Args:
        role: Of somebody new; there is one expert.

    Raises:
        UserError: the address is invalid, its id belongs to somebody with another one, or there is an expert.
    """
    known = {annotator.annotator_id: annotator for annotator in ws.store.annotators()}
    key = who.strip().lower()
    own = known.get(key if key in known else id_of(who))
    if own is None:
        experts = [one.annotator_id for one in known.values() if one.role == "expert" and one.active]
        if role == "expert" and experts:
            raise UserError(f"{experts[0]} is the expert; a project has one.", fix="Add this person as an annotator.")
        made = Annotator(id_of(who), key, role, added=signed(by, why))
    elif "@" in key and own.email.lower() != key:
        raise UserError(
            f"The id {own.annotator_id!r} belongs to {own.email}.", fix="Use another address; answers refer to ids."
        )
    else:
        made = replace(own, active=True, away="", added=own.added or signed(by, why))
    ws.store.put_annotators([made])
    return made


def leave(ws: Workspace, annotator_id: str, how: Away, *, by: str, why: str) -> Annotator:
    """Nobody waits for this annotator any more, whatever robopref.toml says.

    Raises:
        UserError: there is no such annotator, or it is the expert.
    """
    people = {annotator.annotator_id: annotator for annotator in ws.store.annotators()}
    if annotator_id not in people:
        raise UserError(f"There is no annotator {annotator_id!r}.", fix=f"There are: {', '.join(people) or 'none'}.")
    if people[annotator_id].role == "expert":
        raise UserError(
            f"{annotator_id} is the expert.", fix="Name another one as annotators.expert in robopref.toml first."
        )
    made = replace(people[annotator_id], active=False, away=f"{how} by {signed(by, why)}")
    ws.store.put_annotators([made])
    return made


def standings(ws: Workspace) -> list[Standing]:
    """Everybody, in alphabetical order."""
    answered, certified = ws.store.answered(), set(certified_ids(ws))
    done: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for view in ws.store.assignments():
        a = view.assignment
        if a.assignment_id in answered:
            done[a.annotator_id] = done.get(a.annotator_id, 0) + 1
        elif view.pair.kind != "calibration":
            waiting[a.annotator_id] = waiting.get(a.annotator_id, 0) + 1
    return [
        Standing(
            who.annotator_id,
            who.email,
            who.role,
            _state(who),
            who.annotator_id in certified,
            done.get(who.annotator_id, 0),
            waiting.get(who.annotator_id, 0),
            who.away or (f"Added by {who.added}" if who.added else ""),
        )
        for who in ws.store.annotators()
    ]


def _state(annotator: Annotator) -> str:
    if annotator.active:
        return "active"
    return annotator.away.partition(" ")[0].lower() or "not named"
