"""A batch's report as files: report.html for people, qc.json and CSV files for programs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from preference.artifacts import plain, write_csv, write_json, write_text
from preference.errors import UserError
from qc_reports.report.batch_report import BatchReport
from qc_reports.report.tables import tables


def write_folder(folder: Path, report: BatchReport, page: str) -> None:
    """report.html, the tables as CSV, qc.json: each is there whole or not at all, and qc.json is written last."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; the report is a folder.", fix="Name another place with --out.")
    for name, table in tables(report).items():
        write_csv(folder / f"{name}.csv", table)
    write_text(folder / "report.html", page)
    write_json(folder / "qc.json", as_json(report))


def as_json(report: BatchReport) -> dict[str, Any]:
    """What qc.json holds."""
    found = plain(asdict(replace(report, labels=[])))
    del found["labels"]
    return found
