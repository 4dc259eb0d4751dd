"""What a person decides, recorded with who, when and why: about a batch, and about a flagged annotator's judgments."""

from __future__ import annotations

from preference.errors import NotReady, UserError
from preference.records import BatchStatus, Review, ReviewVerdict
from preference.signed import signature
from preference.workspace import Workspace
from qc_reports.changes import changed, noted
from qc_reports.qc import check_exists, qc
from qc_reports.report.batch_report import BatchReport
from qc_reports.report.gate import by_hand


def decide(ws: Workspace, batch_id: str, status: BatchStatus, *, by: str, why: str) -> BatchReport | None:
    """Accept or hold a batch, whatever the gate says; that stands until the next decision.

    Held, its pairs have no label and the next batch is not opened. Accepted, judgments that wait for a review are
    still left out: that is decided for each annotator, by `review`.

    Args:
        status: `accepted` or `held`.

    Returns:
        The new report; None where the batch has no answers to report on.

    Raises:
        UserError: there is no such batch, or who or why is missing.
    """
    who, at, reason = signature(by, why)
    check_exists(ws, batch_id)
    decision = {"status": status, "by": who, "at": at, "why": reason}
    ws.store.put_decision(batch_id, decision)
    if status == "accepted":  # as its answers are now, whatever they were before
        ws.store.put_batch_verdict(batch_id, noted(ws.store.judgments(batch_id)))
    try:
        return qc(ws, batch_id)
    except NotReady:
        ws.store.set_batch_status(batch_id, status, [by_hand(decision)])
        return None


def review(ws: Workspace, batch_id: str, annotator_id: str, verdict: ReviewVerdict, *, by: str, why: str) -> Review:
    """Say of an annotator's judgments in a batch whether they count (`keep`) or not (`leave_out`).

    `keep` holds for the flags there are now, and for the answers as they are now where the batch was reopened by
    changed ones; a flag of another kind asks again. Self-consistency is kept for all batches up to this one, since its
    flag rests on repeats of many. `leave_out` needs no flag. A later review takes its place.

    Raises:
        UserError: there is no such batch, the annotator has no judgment in it or, to keep, neither flag nor changed
            answers; or who or why is missing.
    """
    who, at, reason = signature(by, why)
    check_exists(ws, batch_id)
    report = qc(ws, batch_id)
    kinds = sorted({flag["kind"] for flag in report.flags if flag["annotator_id"] == annotator_id})
    known = any(r.batch_id == batch_id and r.annotator_id == annotator_id for r in ws.store.reviews())
    own = noted(j for j in ws.store.judgments(batch_id) if j.annotator_id == annotator_id)
    if verdict == "leave_out":
        if not own:
            raise UserError(f"{annotator_id} has no judgment in {batch_id}.")
    elif not _accept_changes(ws, batch_id, annotator_id, own) and not kinds and not known:
        people = sorted({flag["annotator_id"] for flag in report.flags})
        raise UserError(
            f"{annotator_id} has no flag in {batch_id}, so all judgments count.",
            fix=f"Flagged: {', '.join(people) or 'nobody'}.",
        )
    record = Review(batch_id, annotator_id, verdict, kinds, who, at, reason)
    ws.store.put_review(record)
    qc(ws, batch_id)
    if verdict == "keep" and "self_consistency" in kinds:  # settles repeats of other batches, which may be held for it
        held = {batch.batch_id for batch in ws.store.batches() if batch.status == "held"}
        for name in _answered(ws, annotator_id):
            if name in held - {batch_id}:
                qc(ws, name)
    return record


def leave_out_everywhere(ws: Workspace, annotator_id: str, *, by: str, why: str) -> list[str]:
    """`review` with `leave_out` in every batch in which this annotator has judgments; returns these batches."""
    batches = _answered(ws, annotator_id)
    for batch_id in batches:
        review(ws, batch_id, annotator_id, "leave_out", by=by, why=why)
    return batches


def _answered(ws: Workspace, annotator_id: str) -> list[str]:
    """Batches in which this annotator has judgments, in their order."""
    answered = ws.store.answered()
    own = {
        view.assignment.batch_id
        for view in ws.store.assignments(calibration=False)
        if view.assignment.annotator_id == annotator_id and view.assignment.assignment_id in answered
    }
    return [batch.batch_id for batch in ws.store.batches() if batch.batch_id in own]


def _accept_changes(ws: Workspace, batch_id: str, annotator_id: str, own: dict[str, str]) -> bool:
    """The batch counts as accepted for this annotator's answers as they are now; False if none had changed."""
    before = ws.store.verdicts().get(batch_id)
    views = ws.store.assignments(batch_id)
    theirs = {v.assignment.assignment_id for v in views if v.assignment.annotator_id == annotator_id}
    if before is None or not changed(before, own) & theirs:
        return False
    others = {key: answer for key, answer in before.answers.items() if key not in theirs}
    ws.store.put_batch_verdict(batch_id, {**others, **own})
    return True
