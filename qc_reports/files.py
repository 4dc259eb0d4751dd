"""A batch's report as files: report.html for people, qc.json for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from preference.workspace import replacing
from qc_reports.figures import BatchReport


def write_folder(folder: Path, report: BatchReport, page: str) -> None:
    """Each file is there whole or not at all; qc.json is written last."""
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    with replacing(folder / "qc.json") as temporary:
        temporary.write_text(json.dumps(plain(asdict(report)), indent=2) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """nan is null in JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
