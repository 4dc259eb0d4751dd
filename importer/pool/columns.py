"""From a table's columns to arrays: Arrow's nested lists, and the ways LeRobot writes the names of their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput

if TYPE_CHECKING:
    import pyarrow as pa


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
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        raise BadInput(file, column, f"expected numbers, found {values.type}")
    flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return flat.reshape(table.num_rows, width)


def feature_names(feature: dict[str, Any]) -> list[str]:
    """The names of a feature's dimensions, however LeRobot nested them: a list, a list of lists, or a dictionary."""
    names: Any = feature.get("names")
    while isinstance(names, dict) or (isinstance(names, list) and len(names) == 1 and isinstance(names[0], list)):
        if isinstance(names, dict):
            names = next(iter(names.values()), None)
        else:
            names = names[0]
    return [str(name) for name in names] if isinstance(names, list) else []
