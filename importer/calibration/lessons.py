"""A training after a failed test: the pairs that were missed, and others of the same kind, as the expert saw them.

A result goes in, assignments in a batch `training-N` come out. They are tasks like those of the first training: the
expert's answer and reason are shown after one's own. They come grouped by what went wrong: what was answered opposite
first, then dimension by dimension, each with pairs that the annotator got right, or has not seen, beside those missed.

Somebody who is certified and whose recent agreement falls gets a shorter one if a manager wants: a refresher, in a
batch `training-refresher-N`, of pairs that they have answered before. It comes before their production pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from importer.pairs.assignments import assign_everyone
from importer.pairs.batches import append, now
from labeling_config.contract import TRAINING
from preference.errors import NotReady, UserError
from preference.records import CALIBRATION, Assignment, Batch, Certification, Judgment, Pair
from preference.workspace import Workspace

MOST = 30
"""Pairs of a training after a test, by the protocol's size of a calibration set."""
REFRESHER = 12
"""Pairs of a refresher: a quarter of an hour."""
BATCH = f"{TRAINING}-refresher-"
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
    return _lesson(ws, batch_id, name, pairs, sides) if pairs else []


def assign_refresher(ws: Workspace, annotator_id: str) -> list[Assignment]:
    """Up to `REFRESHER` pairs whose expert's answer this annotator is shown again; what they missed comes first.

    Returns:
        The new assignments, or those of a refresher that is still to be done.

    Raises:
        UserError: there is no such annotator.
        NotReady: they have answered no set that an expert has answered.
    """
    if annotator_id not in {a.annotator_id for a in ws.store.annotators() if a.role == "annotator"}:
        raise UserError(f"There is no annotator {annotator_id!r}.", fix="See `robopref annotators list`.")
    views = [v for v in ws.store.assignments() if v.assignment.annotator_id == annotator_id]
    said = {j.assignment_id: j for j in ws.store.judgments() if j.annotator_id == annotator_id}
    mine = [v for v in views if v.assignment.batch_id.startswith(BATCH)]
    done = said.keys() | ws.store.skipped().keys()
    if waiting := [v.assignment for v in mine if v.assignment.assignment_id not in done]:
        return waiting
    answered = [v for v in views if v.pair.kind == CALIBRATION and v.pair.expected is not None
                and v.assignment.assignment_id in said and v.assignment.duplicate_of is None]  # fmt: skip
    missed = [v.pair for v in answered if said[v.assignment.assignment_id].preference != v.pair.expected]
    known = {v.pair.pair_id: v.pair for v in answered}
    others = [pair for pair in known.values() if pair not in missed]
    pairs = [*_in_groups(missed, known), *others]
    pairs = sorted(list(dict.fromkeys(pairs))[:REFRESHER], key=lambda pair: pair.dimension)
    if not pairs:
        raise NotReady(
            f"{annotator_id} has answered no calibration pair that the expert has answered.",
            fix="Run `robopref calibration build`.",
        )
    sides: dict[str, Literal["A", "B"]] = {}
    for batch_id in sorted({pair.batch_id for pair in pairs}):
        sides |= expert_sides(ws, batch_id)
    number = 1 + len({v.assignment.batch_id for v in mine})
    return _lesson(ws, f"{BATCH}{number}", annotator_id, pairs, sides)


def _lesson(
    ws: Workspace, batch_id: str, name: str, pairs: Sequence[Pair], sides: Mapping[str, Literal["A", "B"]]
) -> list[Assignment]:
    """These pairs to this annotator, in this order, on the sides on which the expert saw them."""
    first = {
        view.assignment.pair_id: view.assignment.assignment_id
        for view in ws.store.assignments()
        if view.assignment.annotator_id == name and view.assignment.duplicate_of is None
    }
    place = {pair.pair_id: i for i, pair in enumerate(pairs)}
    rng = ws.secret_rng(f"{batch_id} {name}")
    made = [
        replace(a, position=place[a.pair_id], left=sides.get(a.pair_id, a.left), duplicate_of=first.get(a.pair_id))
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
    experts = ws.store.experts()
    return {judgment.pair_id: judgment for judgment in ws.store.judgments(batch_id) if judgment.annotator_id in experts}


def expert_sides(ws: Workspace, batch_id: str) -> dict[str, Literal["A", "B"]]:
    """Pair of this set → which trajectory was on the left when the expert answered: an explanation may speak of left
    and right."""
    spoken = {judgment.assignment_id for judgment in expert_words(ws, batch_id).values()}
    return {v.assignment.pair_id: v.assignment.left for v in ws.store.assignments(batch_id)
            if v.assignment.assignment_id in spoken}  # fmt: skip
