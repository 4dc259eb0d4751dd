"""The calibration course: an expert answers and explains, annotators learn from it and are then tested.

1. `build` proposes a training set and two test sets; the expert gets all of them.
2. Run again when the expert has answered the training set, it gives every annotator the training set, with the expert's
   answers and reasons to be shown after their own, and the first test set, which shows nothing.
3. `retest` gives those who are not certified what comes next: the rest of their set where it is undecided, else a
   second training made of what they missed (`lessons`) and the second test set. A set has `calibration.more_pairs` more
   than everybody answers; the expert answers all of them.

Running it again gives annotators who came later what they lack, and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from importer.calibration.lessons import assign_lessons, expert_sides, expert_words
from importer.calibration.sets import SETS, TRAINING, propose_calibration
from importer.pairs.annotators import expert_and_people
from importer.pairs.assignments import assign_everyone
from importer.pairs.batches import append, now, shown
from importer.pairs.sampling import asked, likely_answers
from preference.errors import NotReady, UserError
from preference.records import Assignment, Batch, Certification, Pair
from preference.workspace import Workspace


def build(ws: Workspace) -> list[Batch]:
    """The sets, made where they are missing, to everybody who can have them by now.

    Raises:
        NotReady: there are no clips or no annotators yet.
        UserError: the pool is too small.
    """
    expert, people = expert_and_people(ws)
    names = [TRAINING, *SETS] if ws.config.calibration.training_pairs else list(SETS)
    if not set(names) <= {batch.batch_id for batch in ws.store.batches()}:
        _make_sets(ws, names)
    for name in names:
        _assign_set(ws, name, [expert])
    if not waiting_for_expert(ws):
        _keep_expert_answers(ws)
        _assign_lessons(ws, people)
        _assign_set(ws, SETS[0], people)
    return [batch for batch in ws.store.batches() if batch.batch_id in names]


def waiting_for_expert(ws: Workspace) -> int:
    """Pairs of the training set that the expert has yet to answer before annotators can begin."""
    said = expert_words(ws, TRAINING)
    return sum(pair.pair_id not in said for pair in ws.store.pairs(TRAINING))


def _keep_expert_answers(ws: Workspace) -> None:
    """What the expert said of the training pairs, for the tasks that show it."""
    said = expert_words(ws, TRAINING)
    ws.store.put_expert_answers(
        replace(pair, expected=said[pair.pair_id].preference, reasoning=said[pair.pair_id].free_text_reason)
        for pair in ws.store.pairs(TRAINING)
        if pair.pair_id in said
    )


def retest(ws: Workspace, annotator_ids: Sequence[str]) -> list[Assignment]:
    """What comes next for those who are not certified: the rest of their set where its result is undecided, else the
    second set, for those who were refused after a second training. A third attempt is `further_set`.

    Returns:
        The new assignments; none for those who have all of it already, or passed.

    Raises:
        NotReady: somebody has no result of the first set, or there is no second set.
        UserError: an id is unknown.
    """
    _, people = expert_and_people(ws)
    latest = ws.store.latest_certifications()
    for name in annotator_ids:
        if name not in people:
            raise UserError(f"No active annotator has the id {name!r}.", fix=f"Active: {', '.join(people)}.")
        if name not in latest:
            raise NotReady(f"{name} has no result of the first calibration set.", fix="Run `robopref certify` first.")
    if SETS[1] not in {batch.batch_id for batch in ws.store.batches()}:
        raise NotReady("There is no second calibration set.", fix="Run `robopref calibration build` first.")
    made: list[Assignment] = []
    for name in annotator_ids:
        record = latest[name]
        own = _own(ws, record)
        if _has_rest(ws, record, own):
            made += _assign_rest(ws, record, own)
        elif not record.certified and record.batch_id == SETS[0] and record.pairs >= len(own):
            made += [] if record.undecided else assign_lessons(ws, record)
            made += _assign_set(ws, SETS[1], [name])
    return made


def to_retest(ws: Workspace) -> list[Certification]:
    """The latest results of the active annotators for whom `retest` has something to give."""
    latest = ws.store.latest_certifications()
    active = {a.annotator_id for a in ws.store.annotators() if a.active and a.role != "expert"}
    failed = [r for r in latest.values() if r.annotator_id in active and not r.certified and not r.revoked]
    second = {v.assignment.annotator_id for v in ws.store.assignments(SETS[1])} if failed else set()
    found = []
    for record in failed:
        own = _own(ws, record)
        again = record.batch_id == SETS[0] and record.annotator_id not in second and 0 < len(own) <= record.pairs
        if _has_rest(ws, record, own) or again:
            found.append(record)
    return found


def _own(ws: Workspace, record: Certification) -> list[Assignment]:
    """What the annotator has of the record's set."""
    views = ws.store.assignments(record.batch_id)
    return [v.assignment for v in views if v.assignment.annotator_id == record.annotator_id]


def _has_rest(ws: Workspace, record: Certification, own: Sequence[Assignment]) -> bool:
    """Whether a result is undecided and its set has pairs that the annotator has not got yet."""
    return record.undecided and len(own) < len(ws.store.pairs(record.batch_id))


def _assign_rest(ws: Workspace, record: Certification, have: Sequence[Assignment]) -> list[Assignment]:
    """The pairs of a set that the annotator does not have yet, at the end of their queue."""
    known = {a.pair_id for a in have}
    pairs = [pair for pair in ws.store.pairs(record.batch_id) if pair.pair_id not in known]
    likely = likely_answers(pairs, ws.store.trajectories())
    rng = ws.secret_rng(f"{record.batch_id} {record.annotator_id} more")
    made = assign_everyone(pairs, [record.annotator_id], batch_id=record.batch_id, rng=rng, likely=likely)
    first, part = 1 + max(a.position for a in have), 1 + max(a.part for a in have)
    made = [replace(a, position=first + a.position, part=part) for a in made]
    append(ws, made)
    return made


def further_set(ws: Workspace, annotator_id: str, number: int) -> list[Assignment]:
    """Set `number`, after the two that everybody may have, for one annotator whom a manager allowed it.

    Its pairs are new; the expert answers it first, as all sets.

    Raises:
        NotReady: there are no clips or no annotators.
        UserError: the pool has too few pairs left.
    """
    batch_id = f"calibration-{number}"
    expert, _ = expert_and_people(ws)
    if not ws.store.pairs(batch_id):
        known = asked(ws.store.pairs())
        proposed = propose_calibration(shown(ws), _set_size(ws), ws.rng(batch_id), known)
        pairs = [replace(pair, batch_id=batch_id) for pair in proposed.first]
        ws.store.put_pairs(Batch(batch_id, "calibration", created_at=now(), notes=proposed.notes), pairs, [])
    _assign_set(ws, batch_id, [expert])
    failed = [r for r in ws.store.certifications() if r.annotator_id == annotator_id and r.pairs]
    made = assign_lessons(ws, failed[-1]) if failed else []
    return [*made, *_assign_set(ws, batch_id, [annotator_id])]


def _make_sets(ws: Workspace, names: Sequence[str]) -> None:
    """Write the pairs of the sets that are missing."""
    known = ws.store.pairs()
    other = asked(pair for pair in known if pair.batch_id not in names)
    training = ws.config.calibration.training_pairs
    proposed = propose_calibration(shown(ws), _set_size(ws), ws.rng("calibration"), other, training=training)
    sets: dict[str, list[Pair]] = dict(zip((*SETS, TRAINING), proposed[:3], strict=True))
    present = {batch.batch_id for batch in ws.store.batches()}
    taken = {pair.pair_id for pair in known}
    for name in names:
        if name not in present:
            # after a kill between two sets the pool may have changed, and the draw with it
            fresh = [pair for pair in sets[name] if pair.pair_id not in taken]
            ws.store.put_pairs(Batch(name, "calibration", created_at=now(), notes=proposed.notes), fresh, [])


def _set_size(ws: Workspace) -> int:
    return ws.config.calibration.pairs + ws.config.calibration.more_pairs


def _assign_set(ws: Workspace, batch_id: str, annotators: Sequence[str]) -> list[Assignment]:
    """The set to those of `annotators` who do not have it yet: all of it to an expert, the first `calibration.pairs`
    of a test set to others."""
    experts = ws.store.experts()
    whole = [name for name in annotators if batch_id == TRAINING or name in experts]
    made = _new_assignments(ws, batch_id, whole)
    made += _new_assignments(ws, batch_id, [n for n in annotators if n not in whole], ws.config.calibration.pairs)
    append(ws, made)
    return made


def _assign_lessons(ws: Workspace, annotators: Sequence[str]) -> None:
    """The training set, on the sides on which the expert saw it: an explanation may speak of left and right."""
    sides = expert_sides(ws, TRAINING)
    append(ws, [replace(a, left=sides[a.pair_id]) for a in _new_assignments(ws, TRAINING, annotators)])


def _new_assignments(
    ws: Workspace, batch_id: str, annotators: Sequence[str], count: int | None = None
) -> list[Assignment]:
    """The first `count` pairs of the set, or all, to those of `annotators` who have none of it."""
    have = {view.assignment.annotator_id for view in ws.store.assignments(batch_id)}
    pairs = ws.store.pairs(batch_id)[:count]
    likely = likely_answers(pairs, ws.store.trajectories())
    made: list[Assignment] = []
    for name in annotators:
        if name not in have:  # a generator for each, so that a draw is the same whoever else takes part
            rng = ws.secret_rng(f"{batch_id} {name}")
            made += assign_everyone(pairs, [name], batch_id=batch_id, rng=rng, likely=likely)
    return made
