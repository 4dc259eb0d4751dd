"""The stages that plan what is asked: annotators, calibration sets, production and active batches, third opinions.

Each takes a workspace, does what is missing, and writes a batch with its pairs and assignments in one transaction.
All draws come from generators named for what they are for, so a stage that was killed and runs again draws the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from importer.assignments import assign, assign_everyone, assign_thirds
from importer.calibration import SETS, propose_calibration
from importer.pairs import active_pairs, asked, likely_answers, sample_pairs
from importer.plan import plan_table
from importer.ready import certified, certified_ids, expert_and_people, shown
from importer.roster import annotators_of, merged
from preference.config import Strata
from preference.errors import NotReady, UserError
from preference.records import Annotator, Assignment, Batch, Kind, Pair, Stratum, Trajectory
from preference.workspace import Workspace

MOST_ANNOTATORS = 3
"""Nobody is asked after the third: where three differ, the pair itself is ambiguous."""


def add_annotators(ws: Workspace) -> list[Annotator]:
    """Bring the annotators of robopref.toml into the database; those it no longer names stay, but inactive.

    Raises:
        UserError: two of them would have the same id, an address is none, or the expert is nobody.
    """
    known = ws.store.annotators()
    changed = merged(known, annotators_of(ws.config.annotators))
    if changed:
        ws.store.put_annotators(changed)
    return ws.store.annotators()


def calibration(ws: Workspace) -> list[Batch]:
    """The two calibration sets: the first for every active annotator and the expert, the second for the expert.

    Run again, it gives the first set to annotators who came later, and changes nothing else.

    Raises:
        NotReady: there are no clips or no annotators yet.
        UserError: the pool is too small.
    """
    expert, people = expert_and_people(ws)
    if not set(SETS) <= {batch.batch_id for batch in ws.store.batches()}:
        _make_calibration(ws)
    _assign_set(ws, SETS[0], [expert, *people])
    _assign_set(ws, SETS[1], [expert])
    return [batch for batch in ws.store.batches() if batch.batch_id in SETS]


def retest(ws: Workspace, annotator_ids: Sequence[str]) -> list[Assignment]:
    """The second calibration set for those who failed the first; there is no third attempt.

    Returns:
        The new assignments; none for those who have the second set already, or passed.

    Raises:
        NotReady: somebody has no result of the first set, or there is no second set.
        UserError: an id is nobody's.
    """
    _, people = expert_and_people(ws)
    passed = {record.annotator_id: record.certified for record in ws.store.certifications()}
    for name in annotator_ids:
        if name not in people:
            raise UserError(f"There is no active annotator {name!r}.", fix=f"There are: {', '.join(people)}.")
        if name not in passed:
            raise NotReady(f"{name} has no result of the first calibration set.", fix="Run `robopref certify` first.")
    if SETS[1] not in {batch.batch_id for batch in ws.store.batches()}:
        raise NotReady("There is no second calibration set.", fix="Run `robopref pairs --calibration` first.")
    return _assign_set(ws, SETS[1], [name for name in annotator_ids if not passed[name]])


def next_batch(ws: Workspace, *, force: bool = False) -> Batch:
    """The next production batch for the certified annotators: stratified, with gold items and duplicates.

    Args:
        force: Although the batch before is not accepted; the batch's reasons record it.

    Raises:
        NotReady: the batch before is not accepted, too few are certified, or there are no clips; with the reasons.
        StratumError: the pool has too few pairs left.
    """
    settings = ws.config.pairs
    before = [batch for batch in ws.store.batches() if batch.kind != "calibration"]
    notes: list[str] = []
    if before and before[-1].status != "accepted":
        last = before[-1]
        why = f" {' '.join(last.reasons)}" if last.status == "held" else ""
        if not force:
            raise NotReady(
                f"Batch {last.batch_id} is {last.status}, not accepted.{why}",
                fix="Run `robopref qc` when it is answered, or open the next one with --force.",
            )
        notes.append(f"Opened with --force: {last.batch_id} was {last.status}, not accepted.")
    annotators = certified(ws)
    batch_id = f"production-{1 + sum(batch.kind == 'production' for batch in before):03d}"
    pool = shown(ws)
    pairs = sample_pairs(
        pool,
        settings.batch,
        strata=_shares(settings.strata),
        rng=ws.rng(f"pairs {batch_id}"),
        batch_id=batch_id,
        exclude=asked(ws.store.pairs()),
    )
    return _put(ws, batch_id, "production", pairs, annotators, pool, notes)


def active_batch(ws: Workspace, chosen: Sequence[tuple[str, str]], strategies: Sequence[str]) -> Batch:
    """A batch of the pairs that the ranking chose; those that were asked before are left out.

    Args:
        chosen: Trajectory ids, two each.
        strategies: The rule that proposed each.

    Raises:
        NotReady: all of them were asked before, or too few annotators are certified.
    """
    annotators = certified(ws)
    seen = asked(ws.store.pairs())
    fresh: list[tuple[tuple[str, str], str]] = []
    for ids, strategy in zip(chosen, strategies, strict=True):
        if frozenset(ids) not in seen:
            seen.add(frozenset(ids))
            fresh.append((ids, strategy))
    if not fresh:
        raise NotReady(f"All {len(chosen)} chosen pairs were asked before.", fix="Rank again: `robopref round`.")
    batch_id = f"active-{1 + sum(batch.kind == 'active' for batch in ws.store.batches()):03d}"
    pool = shown(ws)
    pairs = active_pairs(
        [ids for ids, _ in fresh],
        [strategy for _, strategy in fresh],
        pool,
        batch_id,
        rng=ws.rng(f"pairs {batch_id}"),
    )
    return _put(ws, batch_id, "active", pairs, annotators, pool, [])


def thirds(ws: Workspace, pair_ids: Sequence[str]) -> list[Assignment]:
    """One more annotator for each of the pairs, at the end of their queue in the pair's own batch.

    A pair that still waits for an answer, has three annotators, or was seen by all who are certified is left alone,
    so asking again adds nothing.

    Returns:
        The new assignments.
    """
    wanted = set(pair_ids)
    answered = {judgment.assignment_id for judgment in ws.store.judgments()}
    free_places: Counter[tuple[str, str]] = Counter()
    pairs: dict[str, Pair] = {}
    seen: dict[str, set[str]] = {}
    waiting: set[str] = set()
    for view in ws.store.assignments():
        a = view.assignment
        free_places[a.annotator_id, a.batch_id] = max(free_places[a.annotator_id, a.batch_id], a.position + 1)
        if a.pair_id in wanted and a.duplicate_of is None:
            pairs[a.pair_id] = view.pair
            seen.setdefault(a.pair_id, set()).add(a.annotator_id)
            if a.assignment_id not in answered:
                waiting.add(a.pair_id)
    contested = sorted(key for key in pairs if key not in waiting and len(seen[key]) < MOST_ANNOTATORS)
    if not contested:
        return []
    made = assign_thirds(
        [(pairs[key], seen[key]) for key in contested],
        certified_ids(ws),
        start_positions=free_places,
        rng=ws.rng(f"thirds {' '.join(contested)}"),
    )
    _append(ws, made)
    return made


def _make_calibration(ws: Workspace) -> None:
    """Write the pairs of the sets that are missing."""
    known = ws.store.pairs()
    pool = shown(ws)
    other = asked(pair for pair in known if pair.batch_id not in SETS)
    first, second, notes = propose_calibration(pool, ws.config.calibration.pairs, ws.rng("calibration"), other)
    present = {batch.batch_id for batch in ws.store.batches()}
    taken = {pair.pair_id for pair in known}
    for name, pairs in zip(SETS, (first, second), strict=True):
        if name not in present:
            # after a kill between the two sets the pool may have changed, and the draw with it
            fresh = [pair for pair in pairs if pair.pair_id not in taken]
            ws.store.put_pairs(Batch(name, "calibration", created_at=_now(), reasons=notes), fresh, [])


def _assign_set(ws: Workspace, batch_id: str, annotators: Sequence[str]) -> list[Assignment]:
    """The set to those of `annotators` who do not have it yet."""
    have = {view.assignment.annotator_id for view in ws.store.assignments(batch_id)}
    pairs = ws.store.pairs(batch_id)
    likely = likely_answers(pairs, ws.store.trajectories())
    made: list[Assignment] = []
    for name in annotators:
        if name not in have:  # a generator for each, so that a draw is the same whoever else takes part
            rng = ws.rng(f"{batch_id} {name}")
            made += assign_everyone(pairs, [name], batch_id=batch_id, rng=rng, likely=likely)
    _append(ws, made)
    return made


def _put(
    ws: Workspace,
    batch_id: str,
    kind: Kind,
    pairs: list[Pair],
    annotators: list[str],
    pool: Sequence[Trajectory],
    notes: list[str],
) -> Batch:
    """Assign the pairs and write everything; what the plan warns of becomes the batch's first reasons."""
    settings = ws.config.pairs
    assignments = assign(
        pairs,
        annotators,
        overlap=settings.overlap,
        duplicates=settings.duplicates,
        duplicate_distance=settings.duplicate_distance,
        batch_id=batch_id,
        rng=ws.rng(f"assignments {batch_id}"),
        likely=likely_answers(pairs, pool),
    )
    plan = plan_table(assignments, duplicates=settings.duplicates, duplicate_distance=settings.duplicate_distance)
    batch = Batch(batch_id, kind, created_at=_now(), reasons=[*notes, *plan.warnings])
    ws.store.put_pairs(batch, pairs, assignments)
    return batch


def _append(ws: Workspace, assignments: Sequence[Assignment]) -> None:
    """Add assignments of pairs that exist to their own batches."""
    by_batch: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        by_batch.setdefault(assignment.batch_id, []).append(assignment)
    for batch in ws.store.batches():
        if batch.batch_id in by_batch:
            ws.store.put_pairs(batch, [], by_batch[batch.batch_id])


def _shares(strata: Strata) -> dict[Stratum, float]:
    return {"adjacent": strata.adjacent, "same": strata.same, "distant": strata.distant}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
