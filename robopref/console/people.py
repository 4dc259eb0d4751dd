"""People: who annotates, how well, and who may; somebody's latest answers as clips, beside what the expert or others
said.

Whoever is added here is in the database alone, as with `robopref annotators add`; robopref.toml stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from importer.calibration import build as calibrate
from importer.calibration.lessons import BATCH as REFRESHERS
from importer.calibration.lessons import assign_refresher
from importer.calibration.sets import SETS
from importer.pairs.annotators import add_annotators
from importer.pairs.leave import Away, Standing, add, leave, standings
from importer.studio.hand_over import hand_over
from importer.studio.participants import invitation
from labeling_config.contract import side_of
from preference.artifacts import confined, read_json
from preference.errors import DataError
from preference.records import DISAGREES, Answer, Certification
from preference.workspace import Workspace
from qc_reports import certification
from qc_reports.annotators.reviews import task_url
from qc_reports.decisions import leave_out_everywhere
from robopref.console.actions import Action, Page, Pressed, Refused, nothing, pushed

SHOWN = 10
"""Latest answers."""
FIGURES = ("answers", "gold_agreement", "self_consistency", "majority_agreement", "peer_agreement", "median_response_s")


@dataclass(frozen=True)
class Period:
    """Somebody's figures in one batch; nan where there was nothing to count."""

    batch_id: str
    answers: int
    gold: float
    consistency: float
    agreement: float
    """With the majority of the others; with each other person where nobody has two others."""
    median_s: float
    flags: list[str]


@dataclass(frozen=True)
class Person:
    """Somebody as the page shows them."""

    standing: Standing
    attempts: list[Certification]
    periods: list[Period] = field(default_factory=list)
    """The newest batch first."""
    pending: list[str] = field(default_factory=list)
    """Batches in which they are flagged and not reviewed."""
    fallen: bool = False
    """Their answers of the newest batch agree less than they should, so a refresher is proposed."""

    @property
    def latest(self) -> Certification | None:
        return self.attempts[-1] if self.attempts else None

    def newest(self, figure: str) -> float:
        """Of the newest batch that says something of it; nan where none does."""
        values = (getattr(period, figure) for period in self.periods)
        return next((value for value in values if math.isfinite(value)), math.nan)

    @property
    def may_be_allowed(self) -> bool:
        """Whether only a manager can give them another attempt."""
        last = self.latest
        return bool(last and last.pairs and not last.certified and (
            last.revoked or (last.attempt >= certification.FREE_ATTEMPTS and not last.undecided)))  # fmt: skip


def facts(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    attempts: dict[str, list[Certification]] = {}
    for record in ws.store.certifications():
        attempts.setdefault(record.annotator_id, []).append(record)
    periods, pending, fallen = _reports(ws)
    people = [
        Person(one, attempts.get(one.annotator_id, []), periods.get(one.annotator_id, []),
               pending.get(one.annotator_id, []), one.annotator_id in fallen)
        for one in standings(ws)
    ]  # fmt: skip
    chosen = next((p for p in people if p.standing.annotator_id == asked.get("who")), None)
    return {
        "people": sorted(people, key=lambda p: (p.standing.state != "active", p.standing.role == "expert")),
        "chosen": chosen,
        "answers": _latest(ws, chosen.standing.annotator_id) if chosen else [],
        "has_expert": any(p.standing.role == "expert" and p.standing.state == "active" for p in people),
        "min_kappa": ws.config.calibration.min_kappa,
        "quality": ws.config.quality,
        "sets": _ready(ws),
        "outside": ws.config.annotators.outside,
    }


def _reports(ws: Workspace) -> tuple[dict[str, list[Period]], dict[str, list[str]], set[str]]:
    """Annotator → their figures in each report that was written, and where a review is due; whose agreement has fallen
    in the newest report that has them."""
    periods: dict[str, list[Period]] = {}
    pending: dict[str, list[str]] = {}
    fallen: set[str] = set()
    for batch in ws.store.batches(calibration=False)[::-1]:
        try:
            report = read_json(ws.reports / batch.batch_id / "qc.json")
        except DataError:
            continue
        for row in report.get("annotator_stats", []):
            values = {name: math.nan if row.get(name) is None else row[name] for name in FIGURES}
            agreement = values["majority_agreement"]
            own = [f for f in report.get("flags", []) if f["annotator_id"] == row["annotator_id"]]
            if row["annotator_id"] not in periods and any(f["kind"] in DISAGREES for f in own):
                fallen.add(row["annotator_id"])
            periods.setdefault(row["annotator_id"], []).append(
                Period(
                    batch.batch_id,
                    int(values["answers"]),
                    values["gold_agreement"],
                    values["self_consistency"],
                    values["peer_agreement"] if math.isnan(agreement) else agreement,
                    values["median_response_s"],
                    [f["sentence"] for f in own],
                )
            )
        for name in report.get("left_out", {}).get("pending", []):
            pending.setdefault(name, []).append(batch.batch_id)
    return periods, pending, fallen


def _latest(ws: Workspace, annotator_id: str) -> list[dict[str, Any]]:
    """Their newest answers with the pair, the expert's or the expected answer, and what others said."""
    newest = ws.store.latest_judgments(annotator_id, SHOWN)
    experts = ws.store.experts()
    others: dict[str, dict[str, Answer]] = {}
    for judgment in ws.store.judgments_on({j.pair_id for j in newest}):
        if judgment.annotator_id != annotator_id:
            others.setdefault(judgment.pair_id, {})[judgment.annotator_id] = judgment.preference
    views = ws.store.views_of(j.assignment_id for j in newest)
    found = []
    for judgment in newest:
        view = views[judgment.assignment_id]
        pair, left = view.pair, view.assignment.left
        clips = (pair.trajectory_a_id, pair.trajectory_b_id)
        said = others.get(pair.pair_id, {})
        known: list[Answer] = [word for who, word in said.items() if who in experts]
        expert = known[0] if known else pair.expected
        found.append(
            {
                "judgment": judgment,
                "batch": view.assignment.batch_id,
                "clips": clips if left == "A" else clips[::-1],
                "answer": side_of(judgment.preference, left),
                "expert": side_of(expert, left) if expert else "",
                "others": {who: side_of(word, left) for who, word in said.items() if who not in experts},
                "differs": expert is not None and expert != judgment.preference,
                "url": task_url(view, ""),
            }
        )
    return found


def _ready(ws: Workspace) -> list[str]:
    """Calibration sets that somebody has finished."""
    tests = {name for name in ws.store.calibration_sets() if certification.SET.fullmatch(name)}
    roles = {a.annotator_id: a.role for a in ws.store.annotators()}
    rows = ws.store.progress_by_annotator()
    return sorted({batch for name, batch, done, left in rows if batch in tests and done and not left
                   and roles[name] != "expert"})  # fmt: skip


def clip(ws: Workspace, subject: str) -> Path:
    return confined(ws.clips, f"{subject}.mp4")


def _add(ws: Workspace, pressed: Pressed) -> str:
    add_annotators(ws)
    expert = bool(pressed.form.get("expert"))
    who = pressed.subject or str(pressed.form.get("email", ""))
    made = add(ws, who, by=pressed.by, why=pressed.why, role="expert" if expert else "annotator")
    sets = {batch.batch_id for batch in ws.store.batches()}
    certified = made.annotator_id in ws.store.certified()
    if SETS[0] in sets and not certified:
        ws.store.put_request("calibration build", by=pressed.by, subject="")
        return f"{made.annotator_id} takes part. The worker gives them the training and the first test."
    ws.store.put_request("push", by=pressed.by)
    return f"{made.annotator_id} takes part{'; they get pairs with the next batch' if certified else ''}."


def _leave(ws: Workspace, pressed: Pressed, how: Away) -> str:
    leave(ws, pressed.subject, how, by=pressed.by, why=pressed.why)
    batches = []
    if pressed.form.get("leave_out"):
        batches = leave_out_everywhere(ws, pressed.subject, by=pressed.by, why=pressed.why)
    ws.store.put_request("hand over", by=pressed.by, subject=pressed.subject)
    out = f" Answers in {', '.join(batches)} are left out; resolve the labels to use that." if batches else ""
    return f"{pressed.subject} is {how.lower()}. The worker gives the open pairs to others.{out}"


def _hand_over(ws: Workspace, _: Pressed) -> str:
    result = hand_over(ws)
    return f"{result.moved} open pairs went to others; {result.dropped} were dropped. {pushed(ws)}"


def _allow(ws: Workspace, pressed: Pressed) -> str:
    attempt = certification.allow_attempt(ws, pressed.subject, by=pressed.by, why=pressed.why)
    calibrate.further_set(ws, pressed.subject, attempt.attempt)
    ws.store.put_request("push", by=pressed.by)
    return f"{pressed.subject} may try {attempt.batch_id}; the expert answers that set first."


def _revoke(ws: Workspace, pressed: Pressed) -> str:
    certification.revoke(ws, pressed.subject, by=pressed.by, why=pressed.why)
    ws.store.put_request("hand over", by=pressed.by, subject=pressed.subject)
    return f"{pressed.subject} is no longer certified. The worker gives the open pairs to others; past answers stay."


def _refresh(ws: Workspace, pressed: Pressed) -> str:
    made = assign_refresher(ws, pressed.subject)
    ws.store.put_request("push", by=pressed.by)
    return f"{pressed.subject} has {len(made)} training pairs to answer ({made[0].batch_id}), before any others."


def _invite(ws: Workspace, pressed: Pressed) -> str:
    participant = str(pressed.form.get("participant", ""))
    return f"Send this link to {participant.strip()}: {invitation(ws, participant)}"


def _person(ws: Workspace, subject: str) -> object:
    own = next((a for a in ws.store.annotators() if a.annotator_id == subject), None)
    attempts = [(r.batch_id, r.certified, r.pairs, r.override, r.revoked) for r in ws.store.certifications()
                if r.annotator_id == subject]  # fmt: skip
    return (own.active, own.away, own.role) if own else None, attempts


def _lessons(ws: Workspace, subject: str) -> object:
    """How many refreshers they have had, and what of the newest is open."""
    own = [row for row in ws.store.progress_by_annotator() if row[0] == subject and row[1].startswith(REFRESHERS)]
    return _person(ws, subject), own


def _check_person(ws: Workspace, pressed: Pressed) -> None:
    if not pressed.subject:
        raise Refused("Name the person. Nothing was done.")


PAGE = Page(
    "people",
    "People",
    facts,
    {
        "annotators add": Action(_add, _person, reason=True),
        "annotators pause": Action(lambda ws, p: _leave(ws, p, "Paused"), _person, reason=True),
        "annotators remove": Action(lambda ws, p: _leave(ws, p, "Removed"), _person, reason=True),
        "certify allow": Action(_allow, _person, reason=True),
        "certify revoke": Action(_revoke, _person, reason=True),
        "annotators refresh": Action(_refresh, _lessons),
        "annotators invite": Action(_invite, nothing),
        "hand over": Action(_hand_over, nothing, long=True, check=_check_person),
    },
    {"clip": clip},
)
