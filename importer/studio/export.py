"""The answers as a file: the view `responses` in, CSV, JSON Lines or Parquet out."""

from __future__ import annotations

from pathlib import Path

from preference.artifacts import replacing, write_jsonl
from preference.errors import UserError
from preference.store import Store

COLUMNS = {
    "pair_id": "str",
    "trajectory_a_id": "str",
    "trajectory_b_id": "str",
    "annotator_id": "str",
    "preference": "str",
    "confidence": "int64",
    "response_time_ms": "int64",
    "free_text_reason": "str",
}
"""Column → its type in a data frame."""


def export_judgments(store: Store, path: Path) -> int:
    """Write every judgment to `path`, in the form that its suffix names; returns how many.

    The rows are in the order of pair and annotator, so the same judgments give the same file.

    Raises:
        UserError: the suffix is none of .csv, .jsonl and .parquet.
    """
    import pandas as pd

    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UserError(f"{path}: expected a name that ends in .csv, .jsonl or .parquet, found {path.suffix!r}.")
    rows = store.responses()
    if path.suffix == ".jsonl":
        write_jsonl(path, rows)
        return len(rows)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            frame.to_csv(temporary, index=False, lineterminator="\n")
        else:
            frame.to_parquet(temporary, index=False)
    return len(rows)
