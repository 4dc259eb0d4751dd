"""Pairs that somebody chose: a CSV with a header, or JSON Lines, with trajectory_a_id and trajectory_b_id."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preference.errors import DataError

A, B = "trajectory_a_id", "trajectory_b_id"


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The two trajectory ids of each row.

    Raises:
        DataError: naming the file, the line and what was expected there.
    """
    chosen: list[tuple[str, str]] = []
    seen: dict[frozenset[str], int] = {}
    for line, row in _rows(path):
        ids = [row.get(name) for name in (A, B)]
        if not all(isinstance(i, str) and i.strip() for i in ids):
            raise DataError(f"{path}, line {line}: expected {A} and {B}, found {row}.")
        first, second = (str(i).strip() for i in ids)
        if first == second:
            raise DataError(f"{path}, line {line}: {first} is compared with itself.")
        if (before := seen.setdefault(frozenset((first, second)), line)) != line:
            raise DataError(f"{path}, line {line}: {first} and {second} are a pair in line {before} already.")
        chosen.append((first, second))
    if not chosen:
        raise DataError(f"{path}: there is no pair in it.")
    return chosen


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if path.suffix in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield number, _object(path, number, line)
        return
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in (A, B) if name not in (reader.fieldnames or [])]:
        found = ", ".join(reader.fieldnames or []) or "an empty file"
        raise DataError(f"{path}: the column {missing[0]} is missing; found {found}.")
    yield from enumerate(reader, start=2)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: no JSON: {error}.") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected an object, found {type(row).__name__}.")
    return row
