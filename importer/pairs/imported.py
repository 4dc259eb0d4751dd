"""Judgments that were made elsewhere, about trajectories of the pool: a file goes in, an answered batch comes out.

A CSV with a header, or JSON Lines. trajectory_a_id, trajectory_b_id, annotator_id and preference (`A`, `B`, `equal`)
must be there; confidence (1-5), response_time_ms, free_text_reason, created_at (ISO 8601) and left (`A` or `B`) are
used if present. The batch goes through the same quality control, resolution and training as any other: distant pairs
are its gold items, and pairs on which two people differ go to a certified annotator as third opinions.

People keep their ids behind the name of the source, `kitchen-study:anna`; nobody is asked anything under such an id. A
pair that was asked before gets a second label; both are always in the same split.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from importer.pairs.batches import next_id, now
from importer.pairs.pair_file import A, B, rows_of
from importer.pairs.sampling import make_pair, pair_id_of
from preference.errors import DataError, UserError
from preference.records import ANSWERS, OPPOSITE, Annotator, Answer, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace

IMPORTED = "imported"
"""`Pair.strategy` of these pairs: nobody here chose them."""
REQUIRED = (A, B, "annotator_id", "preference")
UNSAID = {"confidence": 3, "response_time_ms": 0}
"""What the database holds where the file does not say it; `Judgment.unknown` names these."""
LONGEST_MS = 2**31 - 1
SOURCE, PERSON = re.compile(r"[\w.-]{1,40}"), re.compile(r"[\w.@+-]{1,64}")


@dataclass(frozen=True)
class Imported:
    """What `robopref import judgments` prints."""

    batch: str
    """Empty where everything had been imported before."""
    pairs: int
    judgments: int
    people: int
    known: int
    """Judgments of the file that had been imported before."""


@dataclass(frozen=True)
class _Said:
    """One row of the file, checked; `a` and `b` in the order of its pair."""

    a: str
    b: str
    person: str
    preference: Answer
    left: str
    values: Mapping[str, Any]
    unknown: tuple[str, ...]


def import_judgments(ws: Workspace, path: Path, *, source: str = "") -> Imported:
    """Make a batch of the judgments in a file; those that were imported before are left aside.

    Args:
        source: Who asked, such as the name of a study; default: the name of the file.

    Raises:
        DataError: naming the file, the row, what was found and what was expected; nothing is stored then.
        UserError: two trajectories are not of one task type, or not ranked by quality.
    """
    source = source or path.stem
    if not SOURCE.fullmatch(source):
        raise UserError(f"The source {source!r} may have letters, digits, `.`, `_` and `-`.", fix="Give --source NAME.")
    pool = {t.trajectory_id: t for t in ws.store.trajectories() if t.in_pool}
    said = _read(path, pool)
    known = {view.assignment.assignment_id for view in ws.store.assignments(calibration=False)}
    answers = {j.assignment_id: j.preference for j in ws.store.judgments() if j.assignment_id in known}
    keys = {row: _key(source, one) for row, one in said.items()}
    for row, one in said.items():
        before, first = answers.get(keys[row]), min(one.a, one.b) == one.a
        if before is not None and before != (one.preference if first else OPPOSITE[one.preference]):
            raise DataError(
                f"{path}, row {row}: {one.person!r} answered {before} to this pair in an earlier import, in the order "
                f"{min(one.a, one.b)}, {max(one.a, one.b)}.",
                fix="Imported answers stay as they are: leave the row out, or import under another --source.",
            )
    fresh = {row: one for row, one in said.items() if keys[row] not in answers}
    if not fresh:
        return Imported("", 0, 0, 0, len(said))
    batch_id = next_id(ws, "production")
    pairs = {frozenset((one.a, one.b)): _pair(one, pool, batch_id) for one in fresh.values()}
    people = {one.person: elsewhere(source, one.person, f"Imported from {path.name}") for one in fresh.values()}
    places: Counter[str] = Counter()
    assignments, judgments = [], []
    for row, one in fresh.items():
        pair, who = pairs[frozenset((one.a, one.b))], people[one.person].annotator_id
        left = "A" if one.left == pair.trajectory_a_id else "B"
        assignments.append(Assignment(keys[row], pair.pair_id, who, batch_id, places[who], left))
        places[who] += 1
        answer = one.preference if one.a == pair.trajectory_a_id else OPPOSITE[one.preference]
        raw = {"imported_from": source, "file": path.name, "row": row, "unknown": list(one.unknown)}
        judgments.append(Judgment(keys[row], who, pair.pair_id, answer, **one.values, raw=raw))
    note = f"Imported from {path.name}, source {source}: {len(judgments)} answers of {len(people)} people."
    with ws.store.together():
        ws.store.put_annotators(people.values())
        ws.store.put_pairs(Batch(batch_id, "production", created_at=now(), notes=[note]), pairs.values(), assignments)
        ws.store.put_judgments(judgments)
    return Imported(batch_id, len(pairs), len(judgments), len(people), len(said) - len(fresh))


def _key(source: str, one: _Said) -> str:
    """The assignment's id: the same for the same answer of the same source, whichever trajectory is named first."""
    text = "\n".join([IMPORTED, source, one.person, *sorted((one.a, one.b))])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _pair(one: _Said, pool: Mapping[str, Trajectory], batch_id: str) -> Pair:
    """In alphabetical order, so that another import means the same by `A`; with an id of its own in each batch."""
    a, b = (pool[name] for name in sorted((one.a, one.b)))
    pair = make_pair(a, b, "production", batch_id, strategy=IMPORTED)
    if pair.stratum == "distant":
        pair = make_pair(a, b, "gold", batch_id, strategy=IMPORTED)
    return replace(pair, pair_id=f"{pair_id_of(one.a, one.b)}-{batch_id}")


def elsewhere(source: str, person: str, added: str) -> Annotator:
    """Somebody who is never asked: without an account, and inactive from the beginning."""
    name = f"{source}:{person}"
    address = f"{hashlib.sha256(name.encode()).hexdigest()[:12]}@imported.invalid"
    return Annotator(name, address, active=False, added=added, away=f"Answered at {source}")


def _read(path: Path, pool: Mapping[str, Trajectory]) -> dict[int, _Said]:
    """Row → what it says."""
    found: dict[int, _Said] = {}
    seen: dict[tuple[str, frozenset[str]], int] = {}
    for number, row in rows_of(path, REQUIRED):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected an object with {', '.join(REQUIRED)}, found {row!r}.")
        one = _said(path, number, {str(k): "" if v is None else str(v).strip() for k, v in row.items()}, pool)
        if (before := seen.setdefault((one.person, frozenset((one.a, one.b))), number)) != number:
            raise DataError(f"{path}, row {number}: {one.person!r} answered this pair already in row {before}.")
        found[number] = one
    if not found:
        raise DataError(f"{path}: the file contains no judgments.")
    return found


def _said(path: Path, number: int, row: Mapping[str, str], pool: Mapping[str, Trajectory]) -> _Said:
    """
    Raises:
        DataError: naming the column, what was found and what was expected.
    """

    def refuse(column: str, expected: str, fix: str = "") -> DataError:
        return DataError(
            f"{path}, row {number}, {column}: found {row.get(column, '')!r}, expected {expected}.", fix=fix
        )

    for column in (A, B):
        if row.get(column) not in pool:
            raise refuse(column, "a trajectory of the pool", "manifest.csv has their ids; run `robopref pool` first.")
    if row[A] == row[B]:
        raise refuse(B, "another trajectory than trajectory_a_id")
    if not PERSON.fullmatch(row.get("annotator_id", "")):
        raise refuse("annotator_id", "an id of letters, digits, `.`, `_`, `@`, `+` and `-`")
    if row.get("preference") not in ANSWERS:
        raise refuse("preference", "A, B or equal")
    if row.get("left", "") not in ("", "A", "B"):
        raise refuse("left", "A, B or nothing")
    unknown = [name for name in (*UNSAID, "left") if not row.get(name)]
    values: dict[str, Any] = {name: value for name, value in UNSAID.items() if name in unknown}
    if "confidence" not in values:
        confidence = row["confidence"].removesuffix(".0")  # as pandas writes a column with gaps
        if confidence not in [*"12345"]:
            raise refuse("confidence", "a whole number from 1 to 5, or nothing")
        values["confidence"] = int(confidence)
    if "response_time_ms" not in values:
        values["response_time_ms"] = _milliseconds(row["response_time_ms"])
        if values["response_time_ms"] is None:
            raise refuse("response_time_ms", "milliseconds, 0 or more, or nothing")
    created_at = row.get("created_at", "")
    try:
        values["created_at"] = _in_utc(created_at) if created_at else ""
    except (ValueError, OverflowError):
        raise refuse("created_at", "a time such as 2026-01-31T09:30:00Z, or nothing") from None
    reason = row.get("free_text_reason", "").replace("\0", "")
    if reason != reason.encode("utf-8", "ignore").decode():
        raise refuse("free_text_reason", "text without lone surrogates, such as \\ud800")
    values["free_text_reason"] = reason
    left = row[B] if row.get("left") == "B" else row[A]
    return _Said(row[A], row[B], row["annotator_id"], cast(Answer, row["preference"]), left, values, tuple(unknown))


def _in_utc(text: str) -> str:
    """As the database has it; a time without a zone is taken as UTC, so that all can be compared."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _milliseconds(text: str) -> int | None:
    try:
        value = round(float(text))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value <= LONGEST_MS else None
