"""Batches: their reports, what gate and managers decided, and the next batch, whose plan is shown before it is made.

Pairs and overlap of the next batch may differ from robopref.toml's for once; the batch's notes say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from importer.pairs.annotators import add_annotators, certified_ids
from importer.pairs.batches import Draft, draft, next_batch, usual_size
from preference.artifacts import read_json
from preference.errors import DataError, NotReady, UserError
from preference.records import Batch, by_stratum
from preference.workspace import Workspace
from qc_reports.decisions import decide, review
from qc_reports.report.gate import by_hand
from robopref.console.actions import Action, Page, Pressed, Refused, pushed

MOST = 5000
"""Pairs of one batch."""
CHANGED = {"pairs": ("batch", "overlap"), "active": ("plan_next_at",), "annotators": ("hand_over_after_h", "outside"),
           "questions": ("outcome", "where", "why", "part")}  # fmt: skip
"""Settings that managers change during a campaign, by section of robopref.toml."""


@dataclass(frozen=True)
class Shown:
    """A batch as the page shows it."""

    batch: Batch
    done: int
    asked: int
    decisions: list[str]
    pending: list[str]
    """Flagged and not reviewed."""
    flags: dict[str, list[str]]
    """Annotator → sentences."""
    alpha: float | None


def facts(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    progress = ws.store.progress_by_batch()
    return {
        "batches": [_shown(ws, b, progress.get(b.batch_id, (0, 0))) for b in ws.store.batches(calibration=False)[::-1]],
        "settings": ws.config.pairs,
        "usual": usual_size(ws),
        "fields": _fields(ws),
        "certified": certified_ids(ws),
        "may_open": all(b.status == "accepted" for b in ws.store.batches(calibration=False)[-1:]),
        **_planned(ws, asked),
    }


def _fields(ws: Workspace) -> list[tuple[str, str, str]]:
    """(field, value as robopref.toml has it, what it means)."""
    return [
        (f"{section}.{name}", json.dumps(getattr(part, name)), type(part).model_fields[name].description or "")
        for section, names in CHANGED.items()
        for part in [getattr(ws.config, section)]
        for name in names
    ]


def _shown(ws: Workspace, batch: Batch, progress: tuple[int, int]) -> Shown:
    try:
        report = read_json(ws.reports / batch.batch_id / "qc.json")
    except DataError:
        report = {}
    pending = report.get("left_out", {}).get("pending", [])
    flags: dict[str, list[str]] = {}
    for flag in report.get("flags", []):
        flags.setdefault(flag["annotator_id"], []).append(flag["sentence"])
    decisions = [by_hand(decision) for decision in batch.decisions]
    return Shown(batch, *progress, decisions, pending, flags, report.get("alpha", {}).get("value"))


def _planned(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    """The next batch, where the address asks for its plan."""
    wanted = {name: asked.get(name, "") for name in ("pairs", "overlap")} | {"fill": "1" if asked.get("fill") else ""}
    nothing: dict[str, Any] = {"plan": None, "wanted": wanted, "trouble": ""}
    if "pairs" not in asked:
        return nothing
    try:
        found = _draft(ws, wanted)
    except UserError as error:
        return {**nothing, "trouble": str(error)}
    return {"plan": found, "wanted": wanted, "trouble": "", "strata": by_stratum(found.pairs)}


def _draft(ws: Workspace, wanted: Mapping[str, str]) -> Draft:
    asked = _with(ws, wanted)
    return draft(asked, pairs=asked.config.pairs.batch, fill=bool(wanted.get("fill")))


def _with(ws: Workspace, wanted: Mapping[str, Any]) -> Workspace:
    """The workspace with the pairs and overlap that are wanted for once.

    Raises:
        Refused: they are no numbers in range.
    """
    pairs, overlap = (_count(wanted, "pairs", 1, MOST), _count(wanted, "overlap", 1, 10))
    settings = ws.config.pairs.model_copy(update={"batch": pairs, "overlap": overlap})
    made = Workspace(ws.config.model_copy(update={"pairs": settings}))
    made.store = ws.store
    return made


def _count(wanted: Mapping[str, Any], name: str, least: int, most: int) -> int:
    text = str(wanted.get(name, ""))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Refused(
            f"{name.capitalize()}: expected a whole number from {least} to {most}, found {text or 'nothing'}."
        )
    return int(text)


def _open(ws: Workspace, pressed: Pressed) -> str:
    """After a kill the batch may be there already: then it is only pushed."""
    known = {batch.batch_id for batch in ws.store.batches()}
    if pressed.subject in known:
        return f"{pressed.subject} is open. {pushed(ws)}"
    add_annotators(ws)
    wanted, usual = _with(ws, pressed.form), (usual_size(ws), ws.config.pairs.overlap)
    asked = (wanted.config.pairs.batch, wanted.config.pairs.overlap)
    note = f"Made in the console, of {asked[0]} pairs for {asked[1]} people each; robopref.toml has {usual[0]} for "
    note = f"{note}{usual[1]}." if asked != usual else ""
    made = next_batch(wanted, pairs=asked[0], fill=bool(pressed.form.get("fill")), note=note)
    return f"{made.batch_id} is open. {pushed(ws)}"


def _can_open(ws: Workspace, pressed: Pressed) -> None:
    """
    Raises:
        NotReady: the batch before it is not accepted, or too few are certified.
    """
    found = _draft(ws, pressed.form)
    if found.batch.batch_id != pressed.subject:
        raise Refused(f"The next batch is {found.batch.batch_id} by now. Nothing was done.", 409)
    before = ws.store.batches(calibration=False)
    if before and before[-1].status != "accepted":
        raise NotReady(f"{before[-1].batch_id} is not accepted yet, so no further batch is opened.")
    overlap = int(pressed.form["overlap"])
    if len(certified_ids(ws)) < overlap:
        raise NotReady(f"{len(certified_ids(ws))} annotators are certified, and each pair goes to {overlap}.")


def _accept(ws: Workspace, pressed: Pressed) -> str:
    report = decide(ws, pressed.subject, "accepted", by=pressed.by, why=pressed.why)
    pending = report.left_out["pending"] if report else []
    rest = f" Left out until they are reviewed: {', '.join(pending)}." if pending else ""
    return f"{pressed.subject} is accepted.{rest}"


def _hold(ws: Workspace, pressed: Pressed) -> str:
    decide(ws, pressed.subject, "held", by=pressed.by, why=pressed.why)
    return f"{pressed.subject} is on hold: no further batch is opened, and its labels are not used."


def _review(ws: Workspace, pressed: Pressed) -> str:
    """The subject is BATCH ANNOTATOR."""
    batch_id, _, name = pressed.subject.partition(" ")
    verdict = pressed.form.get("verdict")
    if verdict not in ("keep", "leave_out"):
        raise Refused("Say whether the answers count. Nothing was done.")
    review(ws, batch_id, name, verdict, by=pressed.by, why=pressed.why)
    return f"{name}'s answers in {batch_id} {'count' if verdict == 'keep' else 'are left out'}."


def _batch(ws: Workspace, subject: str) -> object:
    batch_id, _, name = subject.partition(" ")
    batch = next(((b.status, b.decisions, b.reasons) for b in ws.store.batches() if b.batch_id == batch_id), None)
    return batch, [r for r in ws.store.reviews() if (r.batch_id, r.annotator_id) == (batch_id, name)]


def _all(ws: Workspace, subject: str) -> object:
    return [(b.batch_id, b.status) for b in ws.store.batches(calibration=False)], certified_ids(ws)


PAGE = Page(
    "batches",
    "Batches",
    facts,
    {
        "batch accept": Action(_accept, _batch, reason=True),
        "batch hold": Action(_hold, _batch, reason=True),
        "batch review": Action(_review, _batch, reason=True),
        "pairs": Action(_open, _all, long=True, check=_can_open),
    },
)
