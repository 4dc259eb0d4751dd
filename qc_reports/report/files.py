"""A batch's report as files: report.html for people, qc.json and CSV files for programs."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from preference.workspace import replacing
from qc_reports.report.figures import BatchReport
from qc_reports.report.tables import tables


def write_folder(folder: Path, report: BatchReport, page: str) -> None:
    """report.html, the tables as CSV, qc.json: each is there whole or not at all, and qc.json is written last."""
    for name, rows in tables(report).items():
        with replacing(folder / f"{name}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    with replacing(folder / "qc.json") as temporary:
        temporary.write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")


def as_json(report: BatchReport) -> dict[str, Any]:
    """What qc.json holds."""
    found = plain(asdict(replace(report, labels=[])))
    del found["labels"]
    return found


def plain(value: Any) -> Any:
    """nan is null in JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
