"""The answers as a file: judgments in, CSV, JSON Lines or Parquet out."""

from __future__ import annotations

from pathlib import Path

from preference.artifacts import replacing, write_csv, write_jsonl
from preference.errors import UserError
from preference.frames import RESPONSES, judgments
from preference.workspace import Workspace


def export_judgments(ws: Workspace, path: Path) -> int:
    """Write every judgment to `path`, in the form that its suffix names; returns how many.

    The rows are in the order of pair and annotator, so the same judgments give the same file.

    Raises:
        UserError: the suffix is none of .csv, .jsonl and .parquet.
    """
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UserError(f"{path}: expected a name that ends in .csv, .jsonl or .parquet, found {path.suffix!r}.")
    frame = judgments(ws)[list(RESPONSES)]
    if path.suffix == ".csv":
        write_csv(path, frame)
    elif path.suffix == ".jsonl":
        write_jsonl(path, frame.to_dict("records"))
    else:
        with replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)
    return len(frame)
