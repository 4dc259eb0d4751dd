"""The rows of one episode out of a parquet file that holds many.

Only the row groups that hold the episode are read, and the newest two stay in memory: neighbouring episodes lie in the
same group, so a pass over a dataset reads each group once and its memory does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importer.pool.episode import BadInput
from importer.pool.outside import check_array

if TYPE_CHECKING:
    import pyarrow as pa

EPISODE = "episode_index"


def read_rows(file: Path, episode_index: int, columns: Collection[str]) -> pa.Table:
    """The episode's rows, with those of `columns` that the file has.

    Raises:
        BadInput: the file is missing, broken, has no column `episode_index`, or has no row of the episode.
    """
    import pyarrow as pa

    try:
        stamp = file.stat().st_mtime_ns
        schema, ranges, sizes = _groups(file, stamp)
        if EPISODE not in schema.names:
            raise BadInput(file, EPISODE, "the column is missing")
        groups = tuple(i for i, r in enumerate(ranges) if r is None or r[0] <= episode_index <= r[1])
        wanted = tuple(name for name in schema.names if name in columns or name == EPISODE)
        for name in wanted:  # a text that is stored once can stand in a million rows
            check_numbers(schema.field(name).type, file, name)
        check_array(sum(sizes[i][0] for i in groups), 1, file, "")
        check_array(1, sum(sizes[i][1].get(name, 0) for i in groups for name in wanted), file, "")
        table = _read(file, stamp, groups, wanted)
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
def _groups(
    file: Path, _mtime_ns: int
) -> tuple[pa.Schema, list[tuple[int, int] | None], list[tuple[int, dict[str, int]]]]:
    """The file's columns; first and last episode of each row group (None = its footer does not say); and each group's
    rows and numbers per column."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        metadata = parquet.metadata
        leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        ranges: list[tuple[int, int] | None] = []
        sizes: list[tuple[int, dict[str, int]]] = []
        for group in range(metadata.num_row_groups):
            about = metadata.row_group(group)
            sizes.append(
                (
                    about.num_rows,
                    {leaves[i].partition(".list.")[0]: about.column(i).num_values for i in range(about.num_columns)},
                )
            )
            statistics = (
                metadata.row_group(group).column(leaves.index(EPISODE)).statistics if EPISODE in leaves else None
            )
            known = statistics is not None and statistics.has_min_max
            ranges.append((statistics.min, statistics.max) if known and statistics is not None else None)
        return parquet.schema_arrow, ranges, sizes


@lru_cache(maxsize=2)
def _read(file: Path, _mtime_ns: int, groups: tuple[int, ...], columns: tuple[str, ...]) -> pa.Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        # a name selects nested columns that begin with it too; the second selection drops those
        return parquet.read_row_groups(list(groups), columns=list(columns), use_threads=False).select(list(columns))


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
