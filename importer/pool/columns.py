"""From a table's columns to arrays with checked shapes and values, and the names columns usually go by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

EFFECTOR_PREFIXES = ("hand", "ee", "eef", "ee_pos", "eef_pos", "end_effector", "tcp", "gripper_pos")
GRIPPER_COLUMNS = ("observation.gripper", "observation.gripper_position", "observation.state.gripper_position")
"""Only columns whose values grow as the gripper closes by convention; others must be named in robopref.toml."""


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
            lengths = {int(n) for n in np.unique(np.diff(values.offsets.to_numpy()))}
        if len(lengths) != 1:
            raise BadInput(file, column, f"rows have different lengths: {sorted(lengths)}")
        width *= lengths.pop()
        values = values.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        raise BadInput(file, column, f"expected numbers, found {values.type}")
    flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return flat.reshape(table.num_rows, width)


def finite(array: np.ndarray, column: str, file: Path) -> np.ndarray:
    """`array` as it is.

    Raises:
        BadInput: naming the first row that holds nan or an infinity.
    """
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if len(bad):
        raise BadInput(file, column, f"row {bad[0]} of the episode is not finite ({len(bad)} such rows)")
    return array


def feature_names(feature: dict[str, Any]) -> list[str]:
    """The names of a feature's dimensions, however LeRobot nested them: a list, a list of lists, or a dictionary."""
    names: Any = feature.get("names")
    while isinstance(names, dict) or (isinstance(names, list) and len(names) == 1 and isinstance(names[0], list)):
        if isinstance(names, dict):
            names = next(iter(names.values()), None)
        else:
            names = names[0]
    return [str(name) for name in names] if isinstance(names, list) else []


def effector_columns(names: Sequence[str], wanted: Sequence[str], file: Path) -> list[int]:
    """Indices of x, y and z of the end effector in the state; empty where none is found.

    Raises:
        BadInput: `wanted` names a dimension that the state does not have.
    """
    if wanted:
        missing = [name for name in wanted if name not in names]
        if missing or len(wanted) != 3:
            found = ", ".join(names) or "no names"
            raise BadInput(file, "effector", f"expected three names of the state's dimensions, found {list(wanted)}; "
                           f"the state has {found}")  # fmt: skip
        return [list(names).index(name) for name in wanted]
    lower = [name.lower().replace(".", "_").replace("-", "_") for name in names]
    for prefix in EFFECTOR_PREFIXES:
        axes = [f"{prefix}_{axis}" for axis in "xyz"]
        if all(axis in lower for axis in axes):
            return [lower.index(axis) for axis in axes]
    return []


def truth(value: Any, column: str, file: Path) -> bool | None:
    """A yes or no that may be missing.

    Raises:
        BadInput: it is neither a boolean nor 0 or 1.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if value in (0, 1):
        return bool(value)
    raise BadInput(file, column, f"expected true or false, found {value!r}")


def real(value: Any, column: str, file: Path) -> float:
    """A number that may be missing (nan).

    Raises:
        BadInput: it is no number.
    """
    if value is None:
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(file, column, f"expected a number, found {value!r}") from None
