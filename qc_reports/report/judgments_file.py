"""Anybody's judgments: a CSV file goes in, `Answered` and the batch's figures come out, without a database.

Columns: pair_id, annotator_id and preference (A, B, equal) must be there. Used when present, and an empty cell means
unknown: confidence (1-5), response_time_ms, gold (the expected answer), duplicate_of (the pair_id that this row shows
again; A and B mean what they mean there), left (the trajectory on the left: A or B), created_at (ISO 8601; without a
zone it is UTC), stratum, task_type. Other columns are ignored, with a warning.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from preference.artifacts import check_text_size
from preference.config import Quality
from preference.errors import DataError
from preference.records import ANSWERS, Pair, Stratum
from preference.work import console
from qc_reports.answers import Answered
from qc_reports.report.batch_report import BatchReport, figures
from qc_reports.report.files import write_folder
from qc_reports.report.next_steps import steps_for_file
from qc_reports.report.page import write_report

REQUIRED = ("pair_id", "annotator_id", "preference")
COLUMNS = (*REQUIRED, "confidence", "response_time_ms", "gold", "duplicate_of", "left", "created_at", "stratum",
           "task_type")  # fmt: skip


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
    cells = _cells(path)

    def refuse(wrong: pd.Series, column: str, expected: Callable[[Any], str] | str) -> None:
        if wrong.any():
            line: Any = wrong.idxmax()
            words = expected if isinstance(expected, str) else expected(line)
            raise DataError(f"{path}, line {line}, column {column}: found {cells[column][line]!r}, expected {words}.")

    cells["confidence"] = cells["confidence"].str.removesuffix(".0")  # as pandas writes a column with gaps
    given = cells != ""
    again = given["duplicate_of"]
    milliseconds = pd.to_numeric(cells["response_time_ms"], errors="coerce")
    moments = pd.to_datetime(cells["created_at"], format="ISO8601", utc=True, errors="coerce")
    refuse(~given["pair_id"], "pair_id", "an id")
    refuse(~given["annotator_id"], "annotator_id", "an id")
    refuse(~cells["preference"].isin(ANSWERS), "preference", "A, B or equal")
    refuse(given["gold"] & ~cells["gold"].isin(ANSWERS), "gold", "A, B, equal or nothing")
    refuse(given["left"] & ~cells["left"].isin(["A", "B"]), "left", "A, B or nothing")
    refuse(given["confidence"] & ~cells["confidence"].isin([*"12345"]), "confidence",
           "a whole number from 1 to 5, or nothing")  # fmt: skip
    refuse(given["response_time_ms"] & ~milliseconds.between(0, np.inf, inclusive="left"), "response_time_ms",
           "milliseconds, 0 or more, or nothing")  # fmt: skip
    refuse(given["created_at"] & moments.isna(), "created_at", "a time such as 2026-01-31T09:30:00Z, or nothing")

    whose, pairs = cells["annotator_id"], cells["duplicate_of"].where(again, cells["pair_id"])
    keys = cells[["annotator_id", "pair_id"]].assign(again=again)
    refuse(keys.duplicated(), "pair_id", lambda line: f"one answer of {whose[line]!r} to it; line "
           f"{(keys == keys.loc[line]).all(axis=1).idxmax()} has another")  # fmt: skip
    first = cells["gold"].where(given["gold"]).groupby(pairs).transform("first")
    refuse(given["gold"] & (cells["gold"] != first), "gold",
           lambda line: f"{first[line]!r}, as in an earlier line on pair {pairs[line]!r}")  # fmt: skip
    answered = pd.MultiIndex.from_frame(keys.loc[~again, ["annotator_id", "pair_id"]])
    refuse(again & ~pd.MultiIndex.from_arrays([whose, pairs]).isin(answered), "duplicate_of",
           lambda line: f"the pair_id of another row of {whose[line]!r}")  # fmt: skip
    rows: Any = zip(cells.itertuples(), pairs, milliseconds, moments, strict=True)
    return [
        Answered(
            pair_id=pair_id,
            annotator_id=row.annotator_id,
            preference=row.preference,
            confidence=int(row.confidence) if row.confidence else None,
            response_time_ms=None if np.isnan(ms) else round(ms),
            created_at="" if moment is pd.NaT else moment.isoformat(),
            left=row.left or None,
            duplicate=bool(row.duplicate_of),
            expected=row.gold or None,
            stratum=row.stratum,
            task_type=row.task_type,
        )
        for row, pair_id, ms, moment in rows
    ]


def _cells(path: Path) -> pd.DataFrame:
    """The known columns as text without the spaces around it, "" where nothing is known; the index is the line."""
    try:
        check_text_size(path)
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: found the byte 0x{error.object[error.start]:02x}, expected UTF-8.",
            fix="Save the file with the encoding UTF-8.",
        ) from None
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}.") from None
    except FileNotFoundError:
        raise DataError(f"File not found: {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    header = found[0][1] if found else []
    if not any(header):
        raise DataError(f"{path} is empty; expected a header with {', '.join(REQUIRED)}.")
    if missing := [name for name in REQUIRED if name not in header]:
        raise DataError(
            f"{path}, line 1: the column {missing[0]!r} is missing; found {', '.join(header)}.",
            fix=f"Columns are separated by commas; {', '.join(REQUIRED)} are needed.",
        )
    if doubled := [name for name in header if name and header.count(name) > 1]:
        raise DataError(f"{path}, line 1: the column {doubled[0]!r} appears twice.")
    if unknown := [name for name in header if name not in COLUMNS]:
        known = f"Known: {', '.join(COLUMNS)}."
        warning = f"{path}: ignored the {'columns' if len(unknown) > 1 else 'column'} {', '.join(unknown)}. {known}"
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)
    for line, cells in found[1:]:
        if len(cells) != len(header):
            raise DataError(f"{path}, line {line}: found {len(cells)} cells, expected {len(header)}, as in the header.")
    rows = pd.DataFrame([cells for _, cells in found[1:]], [line for line, _ in found[1:]], header, dtype=str)
    if rows.empty:
        raise DataError(f"{path} holds no judgments, only a header.")
    return rows[[name for name in COLUMNS if name in header]].reindex(columns=list(COLUMNS), fill_value="")
