"""Anybody's judgments: a CSV file goes in, `Answered` and the batch's figures come out, without a database.

Columns: pair_id, annotator_id and preference (A, B, equal) must be there. Used when present, and an empty cell means
unknown: confidence (1-5), response_time_ms, gold (the expected answer), duplicate_of (the pair_id that this row shows
again; A and B mean what they mean there), left (the trajectory on the left: A or B), created_at (ISO 8601), stratum,
task_type. Other columns are left aside.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from preference.config import Quality
from preference.errors import DataError
from preference.records import ANSWERS, Answer, Pair, Stratum
from qc_reports.answers import Answered
from qc_reports.report.batch_report import BatchReport, figures
from qc_reports.report.files import write_folder
from qc_reports.report.next_steps import steps_for_file
from qc_reports.report.page import write_report

REQUIRED = ("pair_id", "annotator_id", "preference")


@dataclass(frozen=True)
class _Row:
    """One line of the file, with what an error needs to name."""

    path: Path
    line: int
    cells: dict[str, str]

    def get(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    def error(self, column: str, expected: str) -> DataError:
        return DataError(
            f"{self.path}, line {self.line}, column {column}: found {self.get(column)!r}, expected {expected}."
        )


def check_file(path: Path, quality: Quality, *, rng: np.random.Generator, out: Path | None = None) -> BatchReport:
    """The figures of a file of judgments: those that `robopref qc` would give for the same answers.

    Args:
        out: Folder for report.html and the figures as files.

    Raises:
        DataError: naming the file, the line, the column, what was found and what was expected.
    """
    answers = read_judgments_csv(path)
    pairs = pairs_of(answers)
    report = figures(path.stem, answers, pairs, quality, rng=rng, leave_out=False)
    if out is not None:
        steps = steps_for_file(report, path.name)
        page = write_report(report, answers, pairs, quality=quality, subject="This file", steps=steps, of_file=True)
        write_folder(out, report, page)
    return report


def pairs_of(answers: Iterable[Answered]) -> list[Pair]:
    """The pairs that were answered, as far as answers tell; sorted as the database sorts them."""
    seen = {answer.pair_id: answer for answer in answers if not answer.duplicate}
    return [
        Pair(
            pair_id=pair_id,
            trajectory_a_id="",
            trajectory_b_id="",
            task_type=answer.task_type,
            stratum=cast(Stratum, answer.stratum),
            kind="gold" if answer.expected else "production",
            expected=answer.expected,
        )
        for pair_id, answer in sorted(seen.items())
    ]


def read_judgments_csv(path: Path) -> list[Answered]:
    """Every row, in the file's order.

    Raises:
        DataError: naming the file, the line, the column, what was found and what was expected.
    """
    answers: list[Answered] = []
    seen: dict[tuple[str, str, bool], int] = {}
    repeats: list[tuple[_Row, Answered]] = []
    gold: dict[str, Answer] = {}
    for row in _rows(path):
        answer = _answered(row)
        key = (answer.annotator_id, row.get("pair_id"), answer.duplicate)
        if key in seen:
            raise row.error("pair_id", f"one answer of {answer.annotator_id!r} to it; line {seen[key]} has another")
        seen[key] = row.line
        if answer.expected and gold.setdefault(answer.pair_id, answer.expected) != answer.expected:
            raise row.error("gold", f"{gold[answer.pair_id]!r}, as in an earlier line on pair {answer.pair_id!r}")
        if answer.duplicate:
            repeats.append((row, answer))
        answers.append(answer)
    for row, answer in repeats:
        if (answer.annotator_id, answer.pair_id, False) not in seen:
            raise row.error("duplicate_of", f"the pair_id of another row of {answer.annotator_id!r}")
    if not answers:
        raise DataError(f"{path} holds no judgments, only a header.")
    return answers


def _rows(path: Path) -> Iterator[_Row]:
    """The file's rows, read one at a time."""
    try:
        with path.open("rb") as file:
            reader = csv.reader(_decoded(path, file), strict=True)
            header = _header(path, next(reader, []))
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    found = f"found {len(cells)} cells, expected {len(header)}, as in the header"
                    raise DataError(f"{path}, line {reader.line_num}: {found}.")
                yield _Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _decoded(path: Path, lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: found the byte 0x{line[error.start]:02x}, expected UTF-8.",
                fix="Save the file with the encoding UTF-8.",
            ) from None


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise DataError(f"{path} is empty; expected a header with {', '.join(REQUIRED)}.")
    if missing := [name for name in REQUIRED if name not in header]:
        raise DataError(
            f"{path}, line 1: the column {missing[0]!r} is missing; found {', '.join(header)}.",
            fix=f"Columns are separated by commas; {', '.join(REQUIRED)} are needed.",
        )
    if doubled := [name for name in header if name and header.count(name) > 1]:
        raise DataError(f"{path}, line 1: the column {doubled[0]!r} is there twice.")
    return header


def _answered(row: _Row) -> Answered:
    for column in ("pair_id", "annotator_id"):
        if not row.get(column):
            raise row.error(column, "an id")
    original = row.get("duplicate_of")
    return Answered(
        pair_id=original or row.get("pair_id"),
        annotator_id=row.get("annotator_id"),
        preference=_answer(row, "preference"),
        confidence=_confidence(row),
        response_time_ms=_milliseconds(row),
        created_at=_moment(row),
        left=_left(row),
        duplicate=bool(original),
        expected=_answer(row, "gold") if row.get("gold") else None,
        stratum=row.get("stratum"),
        task_type=row.get("task_type"),
    )


def _answer(row: _Row, column: str) -> Answer:
    for answer in ANSWERS:
        if row.get(column) == answer:
            return answer
    raise row.error(column, "A, B or equal")


def _left(row: _Row) -> str | None:
    if row.get("left") not in ("", "A", "B"):
        raise row.error("left", "A or B")
    return row.get("left") or None


def _confidence(row: _Row) -> int | None:
    if row.get("confidence") not in ("", "1", "2", "3", "4", "5"):
        raise row.error("confidence", "a whole number from 1 to 5, or nothing")
    return int(row.get("confidence")) if row.get("confidence") else None


def _milliseconds(row: _Row) -> int | None:
    if not (text := row.get("response_time_ms")):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise row.error("response_time_ms", "milliseconds, 0 or more, or nothing")
    return round(value)


def _moment(row: _Row) -> str:
    """ISO 8601; a time without a zone is taken as UTC, so that all can be compared."""
    if not (text := row.get("created_at")):
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise row.error("created_at", "a time such as 2026-01-31T09:30:00Z, or nothing") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
