"""The labels and answers of an adopted release: its tables in, records of a workspace out, and labels equal to the
release's.

Batches are accepted by decision. Whoever counted in no label of a batch is left out of it, all others are kept, and a
label that is no majority (adjudicated, or by reliability) is kept as a decision. So no setting of [quality] changes a
released label later.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from pyarrow import parquet

from importer.pairs.batches import now
from importer.pairs.imported import elsewhere
from importer.pairs.sampling import UNIFORM
from importer.pool.manifest import read_manifest
from ml_backend.reward.dataset import SPLITS, pair_keys, split_pairs
from preference.adjudicated import ADJUDICATION, copy_of
from preference.errors import DataError
from preference.records import (
    ADOPTED_FROM,
    AS_RELEASED,
    CALIBRATION,
    LABELS,
    Assignment,
    Batch,
    Judgment,
    Kind,
    Pair,
    Preference,
    Review,
    ReviewVerdict,
    Trajectory,
)
from preference.workspace import Workspace
from qc_reports.annotators.flag import Kind as FlagKind
from qc_reports.resolve import answers_to, resolve

ANSWERS = {value: word for word, value in LABELS.items()}
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Ids of trajectories, pairs and batches: they become names of files and folders."""


@dataclass(frozen=True)
class Tables:
    """What a release says of its labelled pairs."""

    trajectories: list[Trajectory]
    """Those that are compared; not in the pool, since their episodes are elsewhere."""
    pairs: list[Pair]
    labels: dict[str, dict[str, Any]]
    """pair_id → row of preferences.parquet."""
    judged: list[dict[str, Any]]
    """Rows of judgments.parquet on these pairs."""


def note_of(source: str) -> str:
    """`Batch.notes` of its batches, and `Annotator.added` of its people."""
    return f"{ADOPTED_FROM}robopref-{source}."


def read_tables(folder: Path, seed: int) -> Tables:
    """
    Args:
        seed: Of the release, which its split was drawn with.

    Raises:
        DataError: the tables are not those of a release or do not belong together, or pairs would not be in the
            release's split.
    """
    try:
        return _tables(folder, seed)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: its tables are not those of a release: {error!r}.") from None


def _tables(folder: Path, seed: int) -> Tables:
    labels = {row["pair_id"]: row for row in _rows(folder / "preferences.parquet")}
    answered = _rows(folder / "judgments.parquet")
    rounds = {row["batch_id"] for row in answered if row["kind"] == "active"}
    judged = [row for row in answered if row["pair_id"] in labels]
    known = {t.trajectory_id: t for t in read_manifest(folder / "manifest.csv")}
    asked = {row["pair_id"]: row for row in reversed(judged)}
    pairs = []
    for key, label in labels.items():
        ids = label["trajectory_a_id"], label["trajectory_b_id"]
        if label["preference"] not in ANSWERS:
            raise DataError(f"{folder}: pair {key}: expected 1.0, 0.0 or 0.5, found {label['preference']!r}.")
        if lost := [name for name in ids if name not in known]:
            raise DataError(f"{folder / 'manifest.csv'}: {lost[0]} is missing, which pair {key} compares.")
        if (row := asked.get(key)) is None:
            raise DataError(f"{folder / 'judgments.parquet'}: the labelled pair {key} has no answer.")
        if unsafe := [name for name in (key, *ids, row["batch_id"]) if not SAFE.fullmatch(name)]:
            raise DataError(f"{folder}: {unsafe[0][:80]!r} is not an id: expected letters, digits, '.', '_' and '-'.")
        questions = json.loads(label.get("questions") or "{}")
        if not all(isinstance(said, dict) for said in questions.values()):
            raise DataError(f"{folder}: pair {key}, questions: expected an object of answers for each annotator.")
        # a round's gold pairs are those of its audit
        audit = row["kind"] == "gold" and row["batch_id"] in rounds
        strategy = "active" if row["kind"] == "active" else UNIFORM if audit else ""
        task = known[ids[0]].task_type
        pairs.append(Pair(key, *ids, task, row["stratum"], row["kind"], row["batch_id"], strategy=strategy))
    split = split_pairs(pair_keys([_preference(row) for row in labels.values()]), seed)
    parts = {key: name for name in SPLITS for key in np.array(list(labels))[getattr(split, name)].tolist()}
    if moved := [key for key, row in labels.items() if parts[key] != row["split"]]:
        raise DataError(
            f"{folder}: {len(moved)} pairs would change their split, the first is {moved[0]}: an earlier version drew "
            "it, and what was tested on would be trained on.",
            fix="Have it released again with a current version.",
        )
    compared = sorted({name for pair in pairs for name in (pair.trajectory_a_id, pair.trajectory_b_id)})
    elsewhere_now = [replace(known[name], clip="", quartile=0, in_pool=False) for name in compared]
    return Tables(elsewhere_now, pairs, labels, judged)


def _preference(row: Mapping[str, Any]) -> Preference:
    return Preference(**{name: row[name] for name in row if name not in ("split", "questions")}, reason="majority")


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or not a Parquet file: {error}.") from None


def put_answers(ws: Workspace, source: str, tables: Tables, simulated: Collection[str]) -> None:
    """Everything into the database; again, where a run was killed.

    Args:
        source: What people's ids begin with.
        simulated: Released names of programs.
    """
    note = note_of(source)
    people = {
        name: replace(elsewhere(source, name, note), teacher="elsewhere" if name in simulated else "")
        for name in sorted({row["annotator_id"] for row in tables.judged})
    }
    assignments, judgments = _judgments(source, tables, {name: who.annotator_id for name, who in people.items()})
    with ws.store.together():
        ws.store.put_trajectories(tables.trajectories)
        ws.store.put_annotators(people.values())
        for batch_id in sorted({pair.batch_id for pair in tables.pairs}):
            own = [pair for pair in tables.pairs if pair.batch_id == batch_id]
            kind: Kind = "active" if any(pair.kind == "active" for pair in own) else "production"
            said = {"status": "accepted", "by": source, "at": now(), "why": AS_RELEASED}
            batch = Batch(batch_id, kind, "accepted", now(), notes=[note], decisions=[said])
            ws.store.put_pairs(batch, own, [a for a in assignments if a.batch_id == batch_id])
        ws.store.put_judgments(judgments)
    put_reviews(ws, source, tables)
    found = {p.pair_id: p.preference for p in resolve(ws)}
    if other := [pair for pair in tables.pairs if found[pair.pair_id] != tables.labels[pair.pair_id]["preference"]]:
        _put_decisions(ws, source, other, tables.labels)
        resolve(ws)


def _judgments(source: str, tables: Tables, people: Mapping[str, str]) -> tuple[list[Assignment], list[Judgment]]:
    assignments, judgments = [], []
    places: Counter[str] = Counter()
    originals: dict[tuple[str, str], str] = {}
    for row in sorted(tables.judged, key=lambda row: bool(row["is_duplicate"])):
        pair_id, name = row["pair_id"], row["annotator_id"]
        text = "\n".join(["adopted", source, pair_id, name, str(places[f"{pair_id} {name}"])])
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        places[f"{pair_id} {name}"] += 1
        original = originals.get((pair_id, name)) if row["is_duplicate"] else None
        originals.setdefault((pair_id, name), key)
        who, place = people[name], places[name]
        places[name] += 1
        assignments.append(Assignment(key, pair_id, who, row["batch_id"], place, row["left"], original))
        said = json.loads(tables.labels[pair_id].get("questions") or "{}").get(name, {}) if original is None else {}
        judgments.append(
            Judgment(
                key, who, pair_id, row["preference"], int(row["confidence"]), int(row["response_time_ms"]),
                row["free_text_reason"] or "", raw={"imported_from": source}, questions=said,
            )
        )  # fmt: skip
    return assignments, judgments


def put_reviews(ws: Workspace, source: str, tables: Tables) -> None:
    """Whose answers counted in no label of a batch are left out; everybody else was found good, whatever flags other
    settings raise later."""
    counted = {(key, f"{source}:{name}") for key, row in tables.labels.items() for name in row["annotator_ids"]}
    answers = answers_to(ws, ws.store.assignments(calibration=False))
    used = {(a.batch_id, a.annotator_id) for a in answers if (a.pair_id, a.annotator_id) in counted}
    everybody = {(a.batch_id, a.annotator_id) for a in answers}

    def put(batch_id: str, name: str, verdict: ReviewVerdict) -> None:
        kinds = list(get_args(FlagKind))
        ws.store.put_review(Review(batch_id, name, verdict, kinds, source, now(), AS_RELEASED))

    for batch_id, name in sorted(everybody - used):
        put(batch_id, name, "leave_out")
    for batch_id, name in sorted(used):
        put(batch_id, name, "keep")


def _put_decisions(ws: Workspace, source: str, pairs: list[Pair], labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Labels that are no majority (adjudicated, or by reliability) stay as they were released."""
    batch_id, who = f"{ADJUDICATION}-001", elsewhere(source, "label", note_of(source))
    copies = [
        replace(pair, pair_id=copy_of(pair.pair_id), kind=CALIBRATION, batch_id=batch_id, expected=None)
        for pair in pairs
    ]
    made = [
        Assignment(hashlib.sha256(f"{source}\n{copy.pair_id}".encode()).hexdigest()[:20], copy.pair_id,
                   who.annotator_id, batch_id, number, "A")
        for number, copy in enumerate(copies)
    ]  # fmt: skip
    words = [ANSWERS[labels[pair.pair_id]["preference"]] for pair in pairs]
    with ws.store.together():
        ws.store.put_annotators([who])
        ws.store.put_pairs(Batch(batch_id, CALIBRATION, "accepted", now(), notes=[note_of(source)]), copies, made)
        ws.store.put_judgments(
            Judgment(a.assignment_id, a.annotator_id, a.pair_id, cast(Any, word), 3, 0, AS_RELEASED,
                     raw={"imported_from": source, "unknown": ["confidence", "response_time_ms", "left"]},
                     questions={"decision": word})
            for a, word in zip(made, words, strict=True)
        )  # fmt: skip
