"""The answers as a file: the view `responses` in, CSV, JSON Lines or Parquet out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from preference.artifacts import replacing
from preference.errors import UserError
from preference.store import Store

COLUMNS: tuple[str, ...] = (
    "pair_id",
    "trajectory_a_id",
    "trajectory_b_id",
    "annotator_id",
    "preference",
    "confidence",
    "response_time_ms",
    "free_text_reason",
)


def export_judgments(store: Store, path: Path) -> int:
    """Write every judgment to `path`, in the form that its suffix names; returns how many.

    The rows are in the order of pair and annotator, so the same judgments give the same file.

    Raises:
        UserError: the suffix is none of .csv, .jsonl and .parquet.
    """
    write = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}.get(path.suffix)
    if write is None:
        raise UserError(f"{path}: expected a name that ends in .csv, .jsonl or .parquet, found {path.suffix!r}.")
    rows = store.responses()
    with replacing(path) as temporary:
        write(temporary, rows)
    return len(rows)


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = ("confidence", "response_time_ms")
    schema = pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in COLUMNS])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
