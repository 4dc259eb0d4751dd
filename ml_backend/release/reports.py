"""The pages of a release: the model's validation, and quality control made anew from answers under released names.

Names are not searched and replaced in finished pages (an annotator may be called as a source is, or as a word of the
page); the same pure functions write them once more, from answers that carry no other name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_backend.release.gather import Source
    from qc_reports.answers import Answered
    from qc_reports.report.batch_report import BatchReport


STEPS = (("Use the labels in preferences.parquet; what left answers out of them is said here and in README.md.", ""),)
"""What a page of the release says that its reader does next."""


def validated(source: Source) -> Source:
    """`source` with the whole validation of its model, page included; made where `robopref validate` has not run yet.

    Raises:
        DataError: the model's files are broken.
    """
    from ml_backend.loop.validate import PAGE, validate_model

    if source.model_file.with_name(PAGE).is_file() and "checks" in source.validation:
        return source
    validate_model(source.ws, source.record.version)
    path = source.model_file.with_name("validation.json")
    return replace(source, validation=json.loads(path.read_text(encoding="utf-8")))


def released_answers(source: Source) -> list[Answered]:
    """Every answer on a resolved pair, under released names."""
    from qc_reports.answers import join

    return [
        replace(answer, annotator_id=source.names[answer.annotator_id])
        for answer in join(source.judgments, source.views)
    ]


def batch_reports(source: Source, answers: Sequence[Answered]) -> list[BatchReport]:
    """A report for each batch with released answers, in the batches' order; the gate's verdict is the stored one."""
    from qc_reports.annotators.reviews import by_batch
    from qc_reports.qc import check

    # who reviewed, and the reason given, may name people
    reviews = by_batch(
        replace(review, annotator_id=source.names[review.annotator_id], by="the team", why="reviewed")
        for review in source.ws.store.reviews()
    )
    reports = []
    for batch in source.batches:
        views = [view for view in source.views if view.assignment.batch_id == batch.batch_id]
        ids = {view.assignment.assignment_id for view in views}
        own = [answer for answer in answers if answer.assignment_id in ids]
        if batch.kind != "calibration" and own:
            report = check(source.ws, batch.batch_id, views, own, reviews.get(batch.batch_id, []))
            reports.append(replace(report, status=batch.status))
    return reports


def write_reports(source: Source, reports: Sequence[BatchReport], answers: Sequence[Answered], folder: Path) -> None:
    """BATCH/{qc.json, report.html, *.csv} under `folder`; the pages tell readers of the release nothing to do."""
    from qc_reports.report.files import write_folder
    from qc_reports.report.page import write_report

    pairs, quality = source.ws.store.pairs(), source.ws.config.quality
    for report in reports:
        batch = {view.assignment.assignment_id for view in source.views if view.assignment.batch_id == report.batch_id}
        own = [answer for answer in answers if answer.assignment_id in batch]
        asked = [pair for pair in pairs if pair.batch_id == report.batch_id]
        page = write_report(report, own, asked, quality=quality, steps=STEPS)
        write_folder(folder / report.batch_id, report, page)
