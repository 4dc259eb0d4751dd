"""Pairs that somebody chose: a CSV with a header, or JSON Lines, with trajectory_a_id and trajectory_b_id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from preference.artifacts import read_csv, read_jsonl
from preference.errors import DataError

A, B = "trajectory_a_id", "trajectory_b_id"


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The two trajectory ids of each row.

    Raises:
        DataError: naming the file, the row and what was expected there.
    """
    chosen: list[tuple[str, str]] = []
    seen: dict[frozenset[str], int] = {}
    for number, row in rows_of(path):
        place = f"{path}, row {number}"
        ids = [row.get(name) for name in (A, B)] if isinstance(row, dict) else []
        if not ids or not all(isinstance(i, str) and i.strip() for i in ids):
            raise DataError(f"{place}: expected {A} and {B}, found {row}.")
        first, second = (str(i).strip() for i in ids)
        if first == second:
            raise DataError(f"{place}: {first} is compared with itself.")
        if (before := seen.setdefault(frozenset((first, second)), number)) != number:
            raise DataError(f"{place}: {first} and {second} are already paired in row {before}.")
        chosen.append((first, second))
    if not chosen:
        raise DataError(f"{path}: the file contains no pairs.")
    return chosen


def rows_of(path: Path, columns: Sequence[str] = (A, B)) -> Iterator[tuple[int, Any]]:
    """Rows of a CSV or of JSON Lines with their numbers: the header of a CSV is row 1.

    Raises:
        DataError: the file is missing or is neither, or the header lacks one of `columns`.
    """
    if path.suffix in (".jsonl", ".ndjson"):
        return enumerate(read_jsonl(path), start=1)
    table = read_csv(path)
    if missing := [name for name in columns if name not in table.columns]:
        found = ", ".join(table.columns) or "an empty file"
        raise DataError(f"{path}: the column {missing[0]} is missing; found {found}.")
    return enumerate(table.to_dict("records"), start=2)
