"""A training after a failed test: the pairs that were missed, and others of the same kind, as the expert saw them.

A result goes in, assignments in a batch `training-N` come out. They are tasks like those of the first training: the
expert's answer and reason are shown after one's own. They come grouped by what went wrong: what was answered opposite
first, then dimension by dimension, each with pairs that the annotator got right, or has not seen, beside those missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from importer.pairs.assignments import assign_everyone
from importer.pairs.batches import append, now
from labeling_config.contract import TRAINING
from preference.records import Assignment, Batch, Certification, Judgment, Pair
from preference.workspace import Workspace

MOST = 30
"""Pairs of a training after a test, by the protocol's size of a calibration set."""
NEAR = 1
"""Pairs of the same dimension for each one missed."""


def assign_lessons(ws: Workspace, record: Certification) -> list[Assignment]:
    """The training that follows this result; nothing where there is one, or nothing was missed.

    Returns:
        The new assignments.
    """
    batch_id = f"{TRAINING}-{record.attempt + 1}"
    name = record.annotator_id
    if any(view.assignment.annotator_id == name for view in ws.store.assignments(batch_id)):
        return []
    sides = expert_sides(ws, record.batch_id)
    known = {pair.pair_id: pair for pair in ws.store.pairs(record.batch_id) if pair.pair_id in sides}
    pairs = _in_groups([known[key] for key in record.review if key in known], known)
    if not pairs:
        return []
    first = {
        view.assignment.pair_id: view.assignment.assignment_id
        for view in ws.store.assignments()
        if view.assignment.annotator_id == name and view.assignment.duplicate_of is None
    }
    place = {pair.pair_id: i for i, pair in enumerate(pairs)}
    rng = ws.secret_rng(f"{batch_id} {name}")
    made = [
        replace(a, position=place[a.pair_id], left=sides[a.pair_id], duplicate_of=first.get(a.pair_id))
        for a in assign_everyone(pairs, [name], batch_id=batch_id, rng=rng)
    ]
    if batch_id not in {batch.batch_id for batch in ws.store.batches()}:
        ws.store.put_pairs(Batch(batch_id, "calibration", created_at=now()), [], [])
    append(ws, made)
    return made


def _in_groups(missed: Sequence[Pair], known: Mapping[str, Pair]) -> list[Pair]:
    """Dimension by dimension in the order in which they were missed: what was missed, then as many others."""
    taken = {pair.pair_id for pair in missed}
    found: list[Pair] = []
    for dimension in dict.fromkeys(pair.dimension for pair in missed):
        own = [pair for pair in missed if pair.dimension == dimension]
        near = [p for p in known.values() if p.dimension == dimension and p.pair_id not in taken]
        found += [*own, *near[: NEAR * len(own)]]
    return found[:MOST]


def expert_words(ws: Workspace, batch_id: str) -> dict[str, Judgment]:
    """Pair of this set → what an expert said of it."""
    experts = {annotator.annotator_id for annotator in ws.store.annotators() if annotator.role == "expert"}
    return {judgment.pair_id: judgment for judgment in ws.store.judgments(batch_id) if judgment.annotator_id in experts}


def expert_sides(ws: Workspace, batch_id: str) -> dict[str, Literal["A", "B"]]:
    """Pair of this set → which trajectory was on the left when the expert answered: an explanation may speak of left
    and right."""
    spoken = {judgment.assignment_id for judgment in expert_words(ws, batch_id).values()}
    return {v.assignment.pair_id: v.assignment.left for v in ws.store.assignments(batch_id)
            if v.assignment.assignment_id in spoken}  # fmt: skip
