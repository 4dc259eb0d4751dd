"""The checks as stages over a workspace: `qc`, `resolve`; certification is in `qc_reports.annotators.certificates`,
what people
decide in `qc_reports.decisions`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preference.artifacts import write_json, write_jsonl
from preference.errors import DataError, NotReady, UserError
from preference.records import Pair, Preference, ResolutionReason, Review
from preference.store import AssignmentView
from preference.workspace import Workspace
from qc_reports.agreement.parts import batch_parts
from qc_reports.annotators.figures import annotator_stats
from qc_reports.annotators.flags import flags
from qc_reports.annotators.reviews import Standing, by_batch, standing
from qc_reports.annotators.to_review import to_review
from qc_reports.answers import Answered, join, planned
from qc_reports.report.clip_strips import contested_strips
from qc_reports.report.figures import BatchReport, figures, flags_rng, set_aside
from qc_reports.report.files import write_folder
from qc_reports.report.gate import by_hand
from qc_reports.report.page import write_report
from qc_reports.resolution import methods
from qc_reports.resolution.changes import left_out
from qc_reports.resolution.vote import LOST
from qc_reports.resolution.vote import resolve as resolve_pairs

RESOLUTION = "resolution.json"
"""Beside the batches' reports: what leaving people out changes, and where the methods differ, over all batches."""


@dataclass(frozen=True)
class Seen:
    """What there is to see of a batch."""

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

    Raises:
        NotReady: the batch does not exist, or has no answer yet.
        UserError: it is a calibration set.
    """
    seen = look(ws, batch_id)
    write_folder(ws.reports / batch_id, seen.report, seen.page(ws))
    ws.store.set_batch_status(batch_id, seen.report.status, seen.report.reasons)
    return seen.report


def look(ws: Workspace, batch_id: str) -> Seen:
    """A batch's report as `qc` would write it; writes nothing.

    Raises:
        NotReady, UserError: as `qc`.
    """
    views = ws.store.assignments(batch_id)
    if any(view.pair.kind == "calibration" for view in views):
        raise UserError(f"{batch_id} is a calibration set, no batch for QC.", fix="Use `robopref certify` for it.")
    judgments = ws.store.judgments(batch_id)
    answers = join(judgments, views, ws.store.trajectories())
    if not answers:
        raise NotReady(f"Batch {batch_id!r} has no answers.", fix="Run `robopref pull` when annotators have answered.")
    report = _decided(ws, check(ws, batch_id, views, answers, by_batch(ws.store.reviews()).get(batch_id, [])))
    report = replace(
        report,
        notes=[*report.notes, *_about_skipped(ws, views)],
        parts=report.parts | {"batch": _over_batches(ws)},
        review=to_review(report.flags, answers, views, ws.config.label_studio.url, ws.store.reviews()),
    )
    words = {judgment.assignment_id: judgment.free_text_reason for judgment in judgments}
    return Seen(report, answers, ws.store.pairs(batch_id), words)


def look_at_all(ws: Workspace) -> Seen:
    """All production and active batches as if they were one; without whom a review left out. Writes nothing."""
    reviews = ws.store.reviews()
    dropped = {(r.batch_id, r.annotator_id) for r in reviews if r.verdict == "leave_out"}
    views = [view for view in ws.store.assignments() if view.pair.kind != "calibration"]
    judgments = ws.store.judgments()
    everybody = join(judgments, views, ws.store.trajectories())
    answers = [a for a in everybody if (a.batch_id, a.annotator_id) not in dropped]
    asked, answered = _asked(ws, views, dropped), {answer.assignment_id for answer in answers}
    pairs = [pair for pair in ws.store.pairs() if pair.kind != "calibration"]
    report = figures(
        "all batches",
        answers,
        pairs,
        ws.config.quality,
        rng=ws.rng("alpha of all batches"),
        waiting=_waiting(asked, answered),
        missing=sum(view.assignment.assignment_id not in answered for view in asked),
        reviews=[review for review in reviews if review.verdict == "keep"],
    )
    return Seen(report, answers, pairs, {j.assignment_id: j.free_text_reason for j in judgments})


def _decided(ws: Workspace, report: BatchReport) -> BatchReport:
    """The report with the notes of its batch, and with what a person decided: that stands above the gate."""
    batch = next(batch for batch in ws.store.batches() if batch.batch_id == report.batch_id)
    report = replace(report, notes=[*batch.notes])
    if not batch.decisions:
        return report
    last = batch.decisions[-1]
    status = "accepted" if last["status"] == "accepted" else "held"
    return replace(report, status=status, reasons=[*report.reasons, by_hand(last)], decision=last)


def check(
    ws: Workspace,
    batch_id: str,
    views: Sequence[AssignmentView],
    answers: Sequence[Answered],
    reviews: Sequence[Review],
) -> BatchReport:
    """The figures of a batch; writes nothing.

    Args:
        reviews: Of this batch, under the names that `answers` has.
    """
    dropped = {review.annotator_id for review in reviews if review.verdict == "leave_out"}
    asked = _asked(ws, views, {(batch_id, name) for name in dropped})
    answered = {answer.assignment_id for answer in answers}
    return figures(
        batch_id,
        answers,
        ws.store.pairs(batch_id),
        ws.config.quality,
        rng=ws.rng(f"alpha {batch_id}"),
        waiting=_waiting(asked, answered),
        missing=sum(view.assignment.assignment_id not in answered for view in asked),
        reviews=reviews,
    )


def resolve(ws: Workspace) -> list[Preference]:
    """Resolve every production and active pair; write work/preferences.jsonl and reports/resolution.json.

    Judgments of annotators whom a batch's flags accuse are left out until they are reviewed. Pairs of a batch that is
    held have no label until it is accepted.
    """
    views = [view for view in ws.store.assignments() if view.pair.kind != "calibration"]
    answers = join(ws.store.judgments(), views)
    pairs = [pair for pair in ws.store.pairs() if pair.kind != "calibration"]
    held = {batch.batch_id for batch in ws.store.batches() if batch.status == "held"}
    where = standings(ws, answers)
    out = _left_out(where)
    counting = [a for a in answers if (a.batch_id, a.annotator_id) not in out]
    dropped = {(batch_id, r.annotator_id) for batch_id, one in where.items() for r in one.dropped}
    waiting = _waiting(_asked(ws, views, dropped), {answer.assignment_id for answer in answers})
    aside: dict[str, ResolutionReason] = {}
    for batch_id, one in where.items():
        aside |= set_aside([a for a in answers if a.batch_id == batch_id], one)
    voted = resolve_pairs(pairs, counting, waiting=waiting, aside=aside, held=held)
    preferences = methods.apply(ws.config.quality.resolution, pairs, counting, voted)
    write_jsonl(ws.preferences, preferences)
    with_all = resolve_pairs(pairs, answers, waiting=waiting, held=held)
    change = left_out(
        with_all,
        voted,
        pending=sorted({name for one in where.values() for name in one.pending}),
        dropped=sorted({name for _, name in dropped}),
        judgments=len(answers) - len(counting),
    )
    differ = methods.differences(pairs, counting, voted)
    found = {"method": ws.config.quality.resolution, "left_out": change, "methods": differ}
    write_json(ws.reports / RESOLUTION, found)
    return preferences


def lost(ws: Workspace) -> list[Pair]:
    """Pairs that ended without a label, with nobody left to ask, as they were resolved last.

    Raises:
        NotReady: nothing has been resolved yet.
    """
    gone = {p.pair_id for p in read_preferences(ws.preferences) if p.reason in LOST}
    return [pair for pair in ws.store.pairs() if pair.pair_id in gone]


def left_out_now(ws: Workspace) -> set[tuple[str, str]]:
    """(batch, annotator) whose judgments do not count at present."""
    views = [view for view in ws.store.assignments() if view.pair.kind != "calibration"]
    return _left_out(standings(ws, join(ws.store.judgments(), views)))


def _left_out(where: Mapping[str, Standing]) -> set[tuple[str, str]]:
    return {(batch_id, name) for batch_id, one in where.items() for name in one.left_out}


def standings(ws: Workspace, answers: Iterable[Answered]) -> dict[str, Standing]:
    """Batch → who of its annotators is flagged, and what reviews said of them."""
    groups: dict[str, list[Answered]] = {}
    for answer in answers:
        groups.setdefault(answer.batch_id, []).append(answer)
    reviews = by_batch(ws.store.reviews())
    found = {}
    for batch_id, own in groups.items():
        stats = annotator_stats(own, ws.config.quality)
        accused = flags(own, stats, ws.config.quality, rng=flags_rng(batch_id))
        found[batch_id] = standing(accused, reviews.get(batch_id, []))
    return found


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


def _over_batches(ws: Workspace) -> list[dict[str, object]]:
    """Agreement in each batch so far and in all of them together, without those whom a review left out."""
    views = [view for view in ws.store.assignments() if view.pair.kind != "calibration"]
    dropped = {(r.batch_id, r.annotator_id) for r in ws.store.reviews() if r.verdict == "leave_out"}
    answers = [a for a in planned(join(ws.store.judgments(), views)) if (a.batch_id, a.annotator_id) not in dropped]
    order = [batch.batch_id for batch in ws.store.batches()]
    return batch_parts(answers, order, draws=ws.config.quality.bootstrap, rng=ws.rng("alpha of all batches"))


def _asked(
    ws: Workspace, views: Sequence[AssignmentView], dropped: Collection[tuple[str, str]]
) -> list[AssignmentView]:
    """Those that are answered or still can be: what a person skipped is lost, and nobody waits for it, nor for
    somebody whom a review left out.

    Args:
        dropped: (batch, annotator).
    """
    skipped = ws.store.skipped()
    return [
        view
        for view in views
        if view.assignment.assignment_id not in skipped
        and (view.assignment.batch_id, view.assignment.annotator_id) not in dropped
    ]


def _about_skipped(ws: Workspace, views: Sequence[AssignmentView]) -> list[str]:
    skipped = ws.store.skipped()
    reasons = [why for view in views if (why := skipped.get(view.assignment.assignment_id)) is not None]
    if not reasons:
        return []
    unseen = sum(why.startswith("missing clip") for why in reasons)
    because = f", {unseen} for a missing clip: `robopref clips` and `robopref doctor` say which" if unseen else ""
    return [f"{len(reasons)} times a pair was skipped{because}."]


def _waiting(views: Sequence[AssignmentView], answered: Collection[str]) -> dict[str, int]:
    """Pair → assignments without an answer, second showings aside."""
    return Counter(
        view.pair.pair_id
        for view in views
        if view.assignment.duplicate_of is None and view.assignment.assignment_id not in answered
    )
