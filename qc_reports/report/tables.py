"""The report's figures as tables: a `BatchReport` goes in, rows for CSV files come out, the header first.

The numbers are those of qc.json, unrounded; what is not known is an empty cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qc_reports.agreement.coefficients import SCALE
from qc_reports.annotators.statistics import SHARES
from qc_reports.report.batch_report import BatchReport

Table = list[list[Any]]
LISTS = ("intervals", "confidence_counts")
"""Of a row of annotator_stats: no cell, but several."""
CONFUSION = ("annotator_1", "annotator_2", "said_1", "said_2", "pairs")
PAIR = ("pair_id", "trajectory_a_id", "trajectory_b_id", "preference", "confidence_mean", "num_annotators", "agreement",
        "annotator_ids", "reason")  # fmt: skip


def tables(report: BatchReport) -> dict[str, Table]:
    """File name without its end → rows."""
    return {
        "annotators": _table([_annotator(row, report.flags) for row in report.annotator_stats]),
        "kappa": _table(report.kappa, ("annotator_1", "annotator_2", "shared", "kappa")),
        "confusions": _table(_confusions(report.confusions), CONFUSION),
        "flags": _table(report.flags, ("annotator_id", "kind")),
        "parts": _table([_part(way, row) for way, rows in report.parts.items() for row in rows], ("way", "name")),
        "pairs": _table([{key: getattr(label, key) for key in PAIR} for label in report.labels], PAIR),
    }


def _annotator(row: Mapping[str, Any], flags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found = {key: value for key, value in row.items() if key not in LISTS}
    for share in SHARES:
        found[f"{share}_low"], found[f"{share}_high"] = row["intervals"].get(share, (None, None))
    found |= {f"confidence_{step}": count for step, count in enumerate(row["confidence_counts"], 1)}
    return found | {"flags": [flag["kind"] for flag in flags if flag["annotator_id"] == row["annotator_id"]]}


def _confusions(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each of the nine counts."""
    return [
        {"annotator_1": row["annotator_1"], "annotator_2": row["annotator_2"], "said_1": first, "said_2": second,
         "pairs": row["counts"][i][j]}
        for row in rows for i, first in enumerate(SCALE) for j, second in enumerate(SCALE)
    ]  # fmt: skip


def _part(way: str, row: Mapping[str, Any]) -> dict[str, Any]:
    alpha = {f"alpha_{key}" if key != "value" else "alpha": value for key, value in row["alpha"].items()}
    return {"way": way, **{key: value for key, value in row.items() if key != "alpha"}, **alpha}


def _table(rows: Sequence[Mapping[str, Any]], header: Sequence[str] = ()) -> Table:
    """The columns of the first row; `header` where there is none."""
    columns = list(rows[0]) if rows else list(header)
    return [columns, *([_cell(row[column]) for column in columns] for row in rows)]


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return ";".join(value) if isinstance(value, list) else value
