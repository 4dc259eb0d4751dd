"""robopref_progress.parquet: the model's progress in the layout that LeRobot's reward-aligned cloning reads.

An exported dataset comes in; out comes one row for each of its rows, with `index`, `episode_index`, `frame_index` and
`progress_sparse` in 0 to 1. LeRobot weights a sample by how much progress the next chunk of actions brings, and gives
weight 1 where it is nan: in episodes that the pool does not have.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from importer.pool.episode import BadInput
from preference.artifacts import replacing

PROGRESS = "robopref_progress.parquet"
KEYS = ("index", "episode_index", "frame_index")


def write_progress(folder: Path, column: str) -> None:
    """Write the file into `folder`, a LeRobot dataset whose rows have their progress in `column`.

    Raises:
        BadInput: a data file lacks one of the columns that LeRobot numbers rows by.
    """
    parts = []
    for path in sorted((folder / "data").rglob("*.parquet")):
        if missing := [name for name in KEYS if name not in pq.read_schema(path).names]:
            raise BadInput(path, missing[0], "the column is missing", fix="LeRobot numbers rows by it.")
        parts.append(pq.read_table(path, columns=[*KEYS, column]))
    table = pa.concat_tables(parts).rename_columns([*KEYS, "progress_sparse"]).sort_by("index")
    if table.column("index").to_pylist() != list(range(table.num_rows)):
        raise BadInput(folder / "data", "index", "expected 0, 1, 2, … over all files: LeRobot finds rows by it")
    with replacing(folder / PROGRESS) as temporary:
        pq.write_table(table.cast(_schema(table)), temporary, compression="zstd")


def _schema(table: pa.Table) -> pa.Schema:
    """Whole numbers as int64 and progress as float32, as LeRobot's own scripts write them."""
    kinds = {name: pa.int64() for name in KEYS}
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in table.column_names])
