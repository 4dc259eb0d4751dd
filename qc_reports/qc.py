"""Checks over a workspace: a batch's judgments go in; its report, its gate's verdict and its files come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from preference.errors import NotReady, UserError
from preference.records import CALIBRATION, AssignmentView, Judgment, Pair, Review
from preference.workspace import Workspace
from qc_reports.agreement.parts import batch_parts
from qc_reports.agreement.questions import question_agreement
from qc_reports.annotators.clock import with_clock
from qc_reports.annotators.history import batches_before, settled_later, with_experts
from qc_reports.annotators.reviews import by_batch, review_list
from qc_reports.answers import Answered, join, planned, unanswered
from qc_reports.changes import changed, changed_batches, noted, sentence, without_left_out
from qc_reports.report.batch_report import BatchReport, figures
from qc_reports.report.clip_strips import contested_strips
from qc_reports.report.files import write_folder
from qc_reports.report.gate import by_hand
from qc_reports.report.page import write_report


@dataclass(frozen=True)
class Checked:
    """A batch's report with what it was made from."""

    report: BatchReport
    answers: list[Answered]
    pairs: list[Pair]
    words: dict[str, str]
    """Assignment → the annotator's own reason."""

    def page(self, ws: Workspace, **served: Any) -> str:
        """The page for people of this project; `served` as in `write_report`."""
        strips = contested_strips(ws, self.answers, self.pairs)
        quality = ws.config.quality
        return write_report(
            self.report, self.answers, self.pairs, quality=quality, words=self.words, strips=strips, **served
        )


def qc(ws: Workspace, batch_id: str) -> BatchReport:
    """Check one batch, pass or hold it, and write reports/BATCH/{qc.json, report.html, *.csv}.

    What people decide meanwhile counts: the batch is then checked again. So a check that began before a review does not
    have the last word.

    Raises:
        NotReady: the batch has no answer yet.
        UserError: there is no such batch, or it is a calibration set.
    """
    while True:
        decided = _decided_by_people(ws, batch_id)
        checked = check_batch(ws, batch_id)
        write_folder(ws.reports / batch_id, checked.report, checked.page(ws))
        with ws.store.together():
            ws.store.lock_batch(batch_id)
            if decided != _decided_by_people(ws, batch_id):
                continue
            ws.store.set_batch_status(batch_id, checked.report.status, checked.report.reasons)
            if checked.report.status == "accepted":
                ws.store.put_batch_verdict(batch_id, noted(ws.store.judgments(batch_id)))
            return checked.report


def _decided_by_people(ws: Workspace, batch_id: str) -> object:
    """All reviews, as those of other batches settle answers too, and the decisions about this batch: what a check
    depends on beside answers."""
    return ws.store.reviews(), [batch.decisions for batch in ws.store.batches() if batch.batch_id == batch_id]


def reopen_changed(ws: Workspace) -> list[str]:
    """Hold every accepted batch of which an answer changed since; returns these batches."""
    batches = changed_batches(ws)
    for batch_id in batches:
        qc(ws, batch_id)
    return batches


def check_batch(ws: Workspace, batch_id: str, *, so_far: bool = False) -> Checked:
    """A batch's report as `qc` would write it; writes nothing. `so_far` as in `figures`.

    Raises:
        NotReady, UserError: as `qc`.
    """
    views = ws.store.assignments(batch_id)
    if any(view.pair.kind == CALIBRATION for view in views):
        raise UserError(f"{batch_id} is a calibration set, not a batch.", fix="Check it with `robopref certify`.")
    judgments = ws.store.judgments(batch_id)
    answers = with_experts(ws, with_clock(ws, join(judgments, views, ws.store.trajectories()), judgments))
    if not answers:
        check_exists(ws, batch_id)
        raise NotReady(f"Batch {batch_id!r} has no answers.", fix="Run `robopref pull` when annotators have answered.")
    report = _decided(ws, check(ws, batch_id, views, answers, ws.store.reviews(), so_far=so_far))
    report = _reopened(ws, report, judgments, views)
    report = replace(
        report,
        notes=[*report.notes, *_about_skipped(ws, views)],
        parts=report.parts | {"batch": _over_batches(ws)},
        questions=[asdict(row) for row in question_agreement(judgments, views)],
        review=review_list(report.flags, answers, views, ws.config.label_studio.address, ws.store.reviews()),
    )
    words = {judgment.assignment_id: judgment.free_text_reason for judgment in judgments}
    return Checked(report, answers, ws.store.pairs(batch_id), words)


def check_exists(ws: Workspace, batch_id: str) -> None:
    """
    Raises:
        UserError: there is no such batch; the calibration sets do not count.
    """
    known = [batch.batch_id for batch in ws.store.batches(calibration=False)]
    if batch_id not in known:
        fix = f"Batches: {', '.join(known)}." if known else "No batch has been made yet; run `robopref pairs` first."
        raise UserError(f"There is no batch {batch_id!r}.", fix=fix)


def check_all(ws: Workspace) -> Checked:
    """All production and active batches as if they were one; without whom a review left out. Writes nothing."""
    reviews = ws.store.reviews()
    dropped = ws.store.left_out()
    views = ws.store.assignments(calibration=False)
    judgments = ws.store.judgments()
    everybody = with_experts(ws, with_clock(ws, join(judgments, views, ws.store.trajectories()), judgments))
    answers = [a for a in everybody if (a.batch_id, a.annotator_id) not in dropped]
    pairs = ws.store.pairs(calibration=False)
    report = figures(
        "all batches",
        answers,
        pairs,
        ws.config.quality,
        rng=ws.rng("alpha of all batches"),
        open_assignments=unanswered(views, answers, skipped=ws.store.skipped(), dropped=dropped),
        reviews=[review for review in reviews if review.verdict == "keep"],
    )
    return Checked(report, answers, pairs, {j.assignment_id: j.free_text_reason for j in judgments})


def _decided(ws: Workspace, report: BatchReport) -> BatchReport:
    """The report with the notes of its batch, and with what a person decided: that stands above the gate."""
    batch = next(batch for batch in ws.store.batches() if batch.batch_id == report.batch_id)
    report = replace(report, notes=[*batch.notes])
    if not batch.decisions:
        return report
    last = batch.decisions[-1]
    status = "accepted" if last["status"] == "accepted" else "held"
    return replace(report, status=status, reasons=[*report.reasons, by_hand(last)], decision=last)


def _reopened(
    ws: Workspace, report: BatchReport, judgments: Sequence[Judgment], views: Sequence[AssignmentView]
) -> BatchReport:
    """The report, on hold where answers are no longer those that the batch was accepted for."""
    verdict = ws.store.verdicts().get(report.batch_id)
    gone = without_left_out(ws, report.batch_id, changed(verdict, noted(judgments)))
    if verdict is None or not gone:
        return report
    people = {view.assignment.assignment_id: view.assignment.annotator_id for view in views}
    return replace(report, status="held", reasons=[sentence(verdict, gone, people), *report.reasons])


def check(
    ws: Workspace,
    batch_id: str,
    views: Sequence[AssignmentView],
    answers: Sequence[Answered],
    reviews: Sequence[Review],
    *,
    so_far: bool = False,
) -> BatchReport:
    """The figures of a batch; writes nothing.

    Args:
        reviews: Of all batches, under the names that `answers` has.
    """
    order = [batch.batch_id for batch in ws.store.batches()]
    own = by_batch(reviews).get(batch_id, [])
    dropped = {(batch_id, review.annotator_id) for review in own if review.verdict == "leave_out"}
    everything = with_experts(ws, join(ws.store.judgments(), ws.store.assignments(calibration=False)))
    return figures(
        batch_id,
        answers,
        ws.store.pairs(batch_id),
        ws.config.quality,
        rng=ws.rng(f"alpha {batch_id}"),
        open_assignments=unanswered(views, answers, skipped=ws.store.skipped(), dropped=dropped),
        so_far=so_far,
        reviews=own,
        earlier=batches_before(order, batch_id, everything, ws.store.reviews()),
        settled=settled_later(order, batch_id, reviews),
    )


def _over_batches(ws: Workspace) -> list[dict[str, object]]:
    """Agreement in each batch so far and in all of them together, without those whom a review left out."""
    views = ws.store.assignments(calibration=False)
    dropped = ws.store.left_out()
    answers = [a for a in planned(join(ws.store.judgments(), views)) if (a.batch_id, a.annotator_id) not in dropped]
    order = [batch.batch_id for batch in ws.store.batches()]
    return batch_parts(answers, order, draws=ws.config.quality.bootstrap, rng=ws.rng("alpha of all batches"))


def _about_skipped(ws: Workspace, views: Sequence[AssignmentView]) -> list[str]:
    skipped = ws.store.skipped()
    reasons = [why for view in views if (why := skipped.get(view.assignment.assignment_id)) is not None]
    if not reasons:
        return []
    unseen = sum(why.startswith("missing clip") for why in reasons)
    because = f", {unseen} for a missing clip: `robopref clips` and `robopref doctor` say which" if unseen else ""
    return [f"{len(reasons)} times a pair was skipped{because}."]
