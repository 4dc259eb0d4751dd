"""The quality-control pages of a release: figures made anew from answers under released names.

Names are not searched and replaced in finished pages (an annotator may be called as a source is, or as a word of the
page); the same pure functions write them once more, from answers that carry no other name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_backend.release.gather import Source
    from qc_reports.answers import Answered
    from qc_reports.stages import BatchReport


def released_answers(source: Source) -> list[Answered]:
    """Every answer on a resolved pair, under released names."""
    from qc_reports.answers import join

    return [
        replace(answer, annotator_id=source.names[answer.annotator_id])
        for answer in join(source.judgments, source.views)
    ]


def batch_reports(source: Source, answers: Sequence[Answered]) -> list[BatchReport]:
    """A report for each batch with released answers, in the batches' order; the gate's verdict is the stored one."""
    from qc_reports.stages import check

    reports = []
    for batch in source.batches:
        views = [view for view in source.views if view.assignment.batch_id == batch.batch_id]
        ids = {view.assignment.assignment_id for view in views}
        own = [answer for answer in answers if answer.assignment_id in ids]
        if batch.kind != "calibration" and own:
            reports.append(replace(check(source.ws, batch.batch_id, views, own), status=batch.status))
    return reports


def write_reports(source: Source, reports: Sequence[BatchReport], answers: Sequence[Answered], folder: Path) -> None:
    """BATCH/{qc.json, report.html} under `folder`."""
    from qc_reports.report import write_report

    pairs = source.ws.store.pairs()
    for report in reports:
        batch = {view.assignment.assignment_id for view in source.views if view.assignment.batch_id == report.batch_id}
        own = [answer for answer in answers if answer.assignment_id in batch]
        place = folder / report.batch_id
        place.mkdir(parents=True)
        page = write_report(report, own, [pair for pair in pairs if pair.batch_id == report.batch_id])
        (place / "report.html").write_text(page, encoding="utf-8")
        (place / "qc.json").write_text(json.dumps(plain(asdict(report)), indent=2) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """`value` for JSON, where nan is null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
