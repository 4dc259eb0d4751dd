"""A batch's report as files: report.html for people, qc.json and CSV files for programs.

Numbers are unrounded; what is not known is null in qc.json, nan in the tables and an empty cell in CSV.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from preference.artifacts import plain, write_csv, write_json, write_text
from preference.errors import UserError
from preference.frames import preference_frame
from qc_reports.agreement.coefficients import SCALE
from qc_reports.annotators.statistics import SHARES
from qc_reports.report.batch_report import BatchReport


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


def tables(report: BatchReport) -> dict[str, pd.DataFrame]:
    """Name of the CSV file, without its end → table."""
    stats = pd.DataFrame(report.annotator_stats)
    for share in SHARES:
        ends = [row["intervals"].get(share, (None, None)) for row in report.annotator_stats]
        stats[[f"{share}_low", f"{share}_high"]] = pd.DataFrame(ends, dtype=float)
    stats[[f"confidence_{step}" for step in range(1, 6)]] = stats.pop("confidence_counts").tolist()
    flags = pd.DataFrame(report.flags, columns=None if report.flags else ["annotator_id", "kind"])
    kinds = flags.groupby("annotator_id")["kind"].agg(";".join)
    stats["flags"] = stats["annotator_id"].map(kinds)
    confusions = [
        (row["annotator_1"], row["annotator_2"], first, second, row["counts"][i][j])
        for row in report.confusions for i, first in enumerate(SCALE) for j, second in enumerate(SCALE)
    ]  # fmt: skip
    divided = [{"way": way} | row for way, rows in report.parts.items() for row in rows]
    parts = pd.json_normalize(divided, sep="_") if divided else pd.DataFrame(columns=["way", "name"])
    pairs = preference_frame(report.labels)
    return {
        "annotators": stats.drop(columns="intervals"),
        "kappa": pd.DataFrame(report.kappa, columns=["annotator_1", "annotator_2", "shared", "kappa"]),
        "confusions": pd.DataFrame(confusions, columns=["annotator_1", "annotator_2", "said_1", "said_2", "pairs"]),
        "flags": flags,
        "parts": parts.rename(columns={"alpha_value": "alpha"}),
        "pairs": pairs.assign(annotator_ids=pairs["annotator_ids"].str.join(";")),
    }
