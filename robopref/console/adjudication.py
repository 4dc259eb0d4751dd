"""Adjudication: pairs that people dispute go to somebody who decides, and what was decided.

Disputed are pairs that would be discarded as ambiguous, those that lack a third opinion, and those on which the most
reliable people disagree with the rest, as the batches' reports have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from importer.studio.adjudication import open_adjudication
from labeling_config.contract import side_of
from preference.adjudicated import copy_of, decisions
from preference.artifacts import read_json
from preference.errors import DataError, NotReady
from preference.records import Answer, Pair
from preference.workspace import Workspace
from qc_reports.qc import check_all
from qc_reports.resolution.disputed import disputed
from robopref.console.actions import Action, Page, Pressed, Refused, pushed
from robopref.console.people import clip

SHOWN = 10
"""Disputed pairs that are shown with their clips."""


@dataclass(frozen=True)
class Dispute:
    """A pair as the page shows it, trajectory A on the left."""

    pair: Pair
    said: dict[str, str]
    """Who → their answer."""
    best: list[str]
    """The most reliable people, where these disagree with the rest."""
    asked: bool
    """An adjudicator has it."""


def facts(ws: Workspace, _: Mapping[str, str]) -> dict[str, Any]:
    rows = _best_against_rest(ws)
    try:
        names = disputed(ws, rows)
    except NotReady:  # no labels yet
        names = []
    best = {row["pair_id"]: sorted(row["best"]) for row in rows}
    pairs = {pair.pair_id: pair for pair in ws.store.pairs()}
    said: dict[str, dict[str, str]] = {}
    for judgment in ws.store.judgments_on(names):
        said.setdefault(judgment.pair_id, {})[judgment.annotator_id] = side_of(judgment.preference, "A")
    waiting = [name for name in names if copy_of(name) not in pairs]
    return {
        "disputes": [Dispute(pairs[n], said.get(n, {}), best.get(n, []), copy_of(n) in pairs) for n in names[:SHOWN]],
        "count": len(names),
        "open": len(waiting),
        # whoever answered a pair does not decide it
        "people": [
            annotator
            for annotator in ws.store.annotators()
            if annotator.active and any(annotator.annotator_id not in said.get(name, {}) for name in waiting)
        ],
        "decided": [(one, pairs[one.pair_id], _word(one.decision)) for one in decisions(ws).values()],
        "side": side_of,
    }


def _best_against_rest(ws: Workspace) -> list[dict[str, Any]]:
    """Of all reports that were written."""
    rows = []
    for batch in ws.store.batches(calibration=False):
        try:
            rows += read_json(ws.reports / batch.batch_id / "qc.json").get("best_against_rest", [])
        except DataError:
            continue
    return rows


def _word(decision: Answer | Literal["none"]) -> str:
    if decision == "none":
        return "no label"
    return f"{side_of(decision, 'A')}{'' if decision == 'equal' else ' is better'}"


def _adjudicate(ws: Workspace, pressed: Pressed) -> str:
    """The subject is who decides."""
    made = open_adjudication(ws, pressed.subject, disputed(ws, check_all(ws).report.best_against_rest))
    if not made:
        return f"There is nothing left for {pressed.subject} to decide."
    return f"{pressed.subject} has {len(made)} disputed pairs to decide. {pushed(ws)}"


def _known(ws: Workspace, pressed: Pressed) -> None:
    if pressed.subject not in {annotator.annotator_id for annotator in ws.store.annotators() if annotator.active}:
        raise Refused("Nobody of that name is taking part. Nothing was done.")


def _disputes(ws: Workspace, subject: str) -> object:
    return sorted(decisions(ws)), [b.batch_id for b in ws.store.batches() if b.batch_id.startswith("adjudication")]


PAGE = Page(
    "adjudication",
    "Adjudication",
    facts,
    {"adjudicate": Action(_adjudicate, _disputes, long=True, check=_known)},
    {"clip": clip},
)
