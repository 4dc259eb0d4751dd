"""The checks as stages over a workspace: `qc`, `accept`, `resolve`; certification is in `qc_reports.certificates`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from preference.errors import DataError, NotReady, UserError
from preference.records import Preference
from preference.store import AssignmentView
from preference.workspace import Workspace, replacing
from qc_reports.answers import Answered, join
from qc_reports.figures import BatchReport, figures
from qc_reports.files import plain, write_folder
from qc_reports.gate import BY_HAND
from qc_reports.report import write_report
from qc_reports.resolve import resolve as resolve_pairs


def qc(ws: Workspace, batch_id: str) -> BatchReport:
    """Check one batch, pass or hold it, and write reports/BATCH/{qc.json, report.html}.

    Raises:
        NotReady: the batch does not exist, or has no answer yet.
        UserError: it is a calibration set.
    """
    views = ws.store.assignments(batch_id)
    if any(view.pair.kind == "calibration" for view in views):
        raise UserError(f"{batch_id} is a calibration set, no batch for QC.", fix="Use `robopref certify` for it.")
    judgments = ws.store.judgments(batch_id)
    answers = join(judgments, views)
    if not answers:
        raise NotReady(f"Batch {batch_id!r} has no answers.", fix="Run `robopref pull` when annotators have answered.")
    report = check(ws, batch_id, views, answers)
    # A batch that somebody accepted by hand stays accepted.
    current = next(batch for batch in ws.store.batches() if batch.batch_id == batch_id)
    report = replace(report, notes=[*current.notes, *_about_skipped(ws, views)])
    if BY_HAND in current.reasons:
        report = replace(report, status="accepted", reasons=[*report.reasons, BY_HAND])
    words = {judgment.assignment_id: judgment.free_text_reason for judgment in judgments}
    page = write_report(report, answers, ws.store.pairs(batch_id), quality=ws.config.quality, words=words)
    write_folder(ws.reports / batch_id, report, page)
    ws.store.set_batch_status(batch_id, report.status, report.reasons)
    return report


def accept(ws: Workspace, batch_id: str) -> BatchReport:
    """Accept a batch whatever the gate says; that it was done by hand is recorded."""
    report = qc(ws, batch_id)
    if report.status == "accepted":
        return report
    ws.store.set_batch_status(batch_id, "accepted", [*report.reasons, BY_HAND])
    return qc(ws, batch_id)


def check(ws: Workspace, batch_id: str, views: Sequence[AssignmentView], answers: Sequence[Answered]) -> BatchReport:
    """The figures of a batch; writes nothing."""
    return figures(
        batch_id,
        answers,
        ws.store.pairs(batch_id),
        ws.config.quality,
        rng=ws.rng(f"alpha {batch_id}"),
        waiting=_waiting(_asked(ws, views), answers),
        missing=len(_asked(ws, views)) - len(answers),
    )


def resolve(ws: Workspace) -> list[Preference]:
    """Resolve every production and active pair and write work/preferences.jsonl."""
    views = [view for view in ws.store.assignments() if view.pair.kind != "calibration"]
    answers = join(ws.store.judgments(), views)
    pairs = [pair for pair in ws.store.pairs() if pair.kind != "calibration"]
    preferences = resolve_pairs(pairs, answers, waiting=_waiting(_asked(ws, views), answers))
    with replacing(ws.preferences) as temporary:
        lines = (json.dumps(plain(preference.to_dict())) + "\n" for preference in preferences)
        temporary.write_text("".join(lines), encoding="utf-8")
    return preferences


def read_preferences(path: Path) -> list[Preference]:
    """What `resolve` wrote.

    Raises:
        NotReady: it has not run yet.
        DataError: the file is broken.
    """
    if not path.exists():
        raise NotReady("Nothing has been resolved yet.", fix="Run `robopref resolve` first.")
    preferences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            floats = {k: math.nan if row[k] is None else row[k] for k in ("confidence_mean", "agreement")}
            preferences.append(Preference.from_dict(row | floats))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: {error}.", fix="Write it anew with `robopref resolve`.") from None
    return preferences


def _asked(ws: Workspace, views: Sequence[AssignmentView]) -> list[AssignmentView]:
    """Those that are answered or still can be: what a person skipped is lost, and nobody waits for it."""
    skipped = ws.store.skipped()
    return [view for view in views if view.assignment.assignment_id not in skipped]


def _about_skipped(ws: Workspace, views: Sequence[AssignmentView]) -> list[str]:
    skipped = ws.store.skipped()
    reasons = [why for view in views if (why := skipped.get(view.assignment.assignment_id)) is not None]
    if not reasons:
        return []
    unseen = sum(why.startswith("missing clip") for why in reasons)
    because = f", {unseen} for a missing clip: `robopref clips` and `robopref doctor` say which" if unseen else ""
    return [f"{len(reasons)} times a pair was skipped{because}."]


def _waiting(views: Sequence[AssignmentView], answers: Sequence[Answered]) -> dict[str, int]:
    """Pair → assignments without an answer, second showings aside."""
    answered = {answer.assignment_id for answer in answers}
    return Counter(
        view.pair.pair_id
        for view in views
        if view.assignment.duplicate_of is None and view.assignment.assignment_id not in answered
    )
