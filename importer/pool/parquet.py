"""The rows of one episode out of a parquet file that holds many.

Only the row groups that hold the episode are read, and the newest two stay in memory: neighbouring episodes lie in the
same group, so a pass over a dataset reads each group once and its memory does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput
from importer.pool.outside import check_array

if TYPE_CHECKING:
    import pyarrow as pa

EPISODE = "episode_index"
BATCH = 4096
"""Rows that are read at once."""


def read_rows(file: Path, episode_index: int, columns: Collection[str]) -> pa.Table:
    """The episode's rows, with those of `columns` that the file has.

    Raises:
        BadInput: the file is missing, broken, has no column `episode_index`, or has no row of the episode.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        stamp = file.stat().st_mtime_ns
        fragment = _fragment(file, stamp)
        schema = fragment.physical_schema
        if EPISODE not in schema.names:
            raise BadInput(file, EPISODE, "the column is missing")
        wanted = tuple(name for name in schema.names if name in columns or name == EPISODE)
        for name in wanted:  # a text that is stored once can stand in a million rows
            check_numbers(schema.field(name).type, file, name)
        parts = fragment.split_by_row_group(ds.field(EPISODE) == episode_index)
        table = _read(file, stamp, tuple(group.id for part in parts for group in part.row_groups), wanted)
    except FileNotFoundError:
        raise BadInput(file, "", "the data file is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(file, "", f"cannot be read as parquet: {error}") from None
    rows = np.flatnonzero(table.column(EPISODE).to_numpy() == episode_index)
    if not len(rows):
        raise BadInput(file, EPISODE, f"episode {episode_index} has no rows")
    if rows[-1] - rows[0] + 1 != len(rows):
        raise BadInput(file, EPISODE, f"the rows of episode {episode_index} are not contiguous")
    return table.slice(rows[0], len(rows))


@lru_cache(maxsize=8)
def _fragment(file: Path, _mtime_ns: int) -> Any:
    """The file with its footer, which tells what episodes each row group holds. pyarrow's own classes for the footer
    would end the process where it is damaged; this one raises."""
    import pyarrow.dataset as ds

    return next(iter(ds.dataset(file, format="parquet").get_fragments()))


@lru_cache(maxsize=2)
def _read(file: Path, _mtime_ns: int, groups: tuple[int, ...], columns: tuple[str, ...]) -> pa.Table:
    return read_limited(file, columns, groups)


def read_limited(file: Path, columns: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
    """The columns as a table, read in pieces, so that what a few bytes can claim is never in memory as a whole.

    Raises:
        BadInput: there are more rows or bytes than an episode or a list of episodes can have.
        ArrowException, OSError: the file is broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches: list[pa.RecordBatch] = []
    rows = size = 0
    with pq.ParquetFile(file) as parquet:
        # a name selects nested columns that begin with it too; the second selection drops those
        schema = pa.schema([parquet.schema_arrow.field(name) for name in columns])
        for batch in parquet.iter_batches(BATCH, groups, list(columns), use_threads=False) if groups != () else ():
            rows, size = rows + batch.num_rows, size + batch.nbytes
            check_array(rows, 1, file, "")
            check_array(1, size // 8, file, "")
            batches.append(batch.select(list(columns)))
    return pa.Table.from_batches(batches, schema).combine_chunks()


def check_numbers(kind: pa.DataType, file: Path, column: str) -> None:
    """
    Raises:
        BadInput: a column of that type holds something other than numbers or lists of them.
    """
    if not is_numeric(kind):
        raise BadInput(file, column, f"expected numbers, found {kind}")


def is_numeric(kind: pa.DataType) -> bool:
    """Numbers, or lists of them."""
    import pyarrow as pa

    while isinstance(kind, (pa.ListType, pa.LargeListType, pa.FixedSizeListType)):
        kind = kind.value_type
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def matrix(table: pa.Table, column: str, file: Path) -> np.ndarray:
    """(T, D) float64 of a numeric or list column; a plain number becomes D = 1.

    Raises:
        BadInput: the column is not numeric, or its rows differ in length.
    """
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    width = 1
    while isinstance(values, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)):
        if values.null_count:
            raise BadInput(file, column, f"{values.null_count} rows are empty")
        if isinstance(values, pa.FixedSizeListArray):
            lengths = {values.type.list_size}
        else:
            lengths = {int(n) for n in np.unique(np.diff(values.offsets.to_numpy()))} or {0}
        if len(lengths) != 1:
            raise BadInput(file, column, f"rows have different lengths: {sorted(lengths)}")
        width *= lengths.pop()
        values = values.flatten()
    check_numbers(values.type, file, column)
    flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return flat.reshape(table.num_rows, width)
