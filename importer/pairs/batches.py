"""The stages that plan what is asked: production batches and active ones.

Each takes a workspace and writes a batch with its pairs and assignments in one transaction. Every draw comes from a
generator named for its purpose, so a stage that was killed draws the same when it runs again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from importer.pairs.annotators import annotators_of, certified, certified_ids
from importer.pairs.assignments import assign
from importer.pairs.plan import RESERVE, Plan, plan_table
from importer.pairs.sampling import active_pairs, asked, likely_answers, make_pair, sample_pairs, shortfalls, stratum_of
from importer.pairs.strata import PairKey
from preference.errors import NotReady, UserError
from preference.records import Assignment, Batch, Kind, Pair, Stratum, Trajectory
from preference.workspace import Workspace

REPLACEMENT = "replacement"
"""`Pair.strategy` of a pair that replaces a lost one."""


@dataclass(frozen=True)
class Draft:
    """A batch as it would be made."""

    batch: Batch
    pairs: list[Pair]
    assignments: list[Assignment]
    plan: Plan


def usual_size(ws: Workspace) -> int:
    """Pairs of the next production batch: `pairs.batch`, but of the first one no more than rounds need to start:
    `active.bootstrap`, or what a model takes (`reward.min_preferences`, and as many more as may be lost)."""
    if any(batch.kind == "production" for batch in ws.store.batches()):
        return ws.config.pairs.batch
    enough = math.ceil(ws.config.reward.min_preferences / (1.0 - RESERVE[1]))
    return min(ws.config.pairs.batch, max(ws.config.active.bootstrap, enough))


def draft(ws: Workspace, *, pairs: int = 0, fill: bool = False) -> Draft:
    """The next production batch and what it asks of people; nothing is written.

    While too few are certified, it plans with everybody whom robopref.toml names or a manager added.

    Args:
        pairs: How many; 0 = `usual_size`.
        fill: As in `sample_pairs`.

    Raises:
        NotReady: there are no clips.
        StratumError: the pool has too few pairs left.
        UserError: there are fewer annotators than each pair goes to.
    """
    notes = []
    try:
        _opening_notes(ws, force=False)
    except NotReady as error:
        notes.append(f"{error.message} {error.fix}")
    known = {a.annotator_id: a for a in [*annotators_of(ws.config.annotators), *ws.store.annotators()]}
    named = {a.annotator_id for a in annotators_of(ws.config.annotators)}
    people = [
        name
        for name, a in known.items()
        if a.role == "annotator" and not a.away and (name in named or (a.active and a.added))
    ]
    names = [name for name in certified_ids(ws) if name in people]
    if len(names) < ws.config.pairs.overlap:
        notes.append(f"Planned with all {len(people)} annotators; {len(names)} are certified so far.")
        names = people
    return _drafted(ws, names, notes, pairs, fill)


def next_batch(ws: Workspace, *, pairs: int = 0, force: bool = False, fill: bool = False, note: str = "") -> Batch:
    """The next production batch for the certified annotators: stratified, with gold items and duplicates.

    Args:
        pairs: As in `draft`.
        force: Even though the previous batch is not accepted; the batch's notes record it.
        fill: As in `sample_pairs`.
        note: What is special about it, for the batch's notes.

    Raises:
        NotReady: the previous batch is not accepted, too few are certified, or there are no clips; with the reasons.
        StratumError: the pool has too few pairs left.
    """
    notes = [*_opening_notes(ws, force), *filter(None, [note])]
    return _write(ws, _drafted(ws, certified(ws), notes, pairs, fill))


def chosen_batch(ws: Workspace, chosen: Sequence[tuple[str, str]], *, force: bool = False) -> Batch:
    """A production batch of pairs that somebody chose; distant ones count as gold, as in any other.

    Args:
        chosen: Trajectory ids, two each.
        force: As in `next_batch`.

    Raises:
        NotReady: as `next_batch`.
        UserError: a trajectory is not in the pool or has no clip, a pair is of two task types, or was asked before.
    """
    notes, annotators, batch_id, pool = _opened(ws, "production", force)
    by_id = {trajectory.trajectory_id: trajectory for trajectory in pool}
    seen = asked(ws.store.pairs())
    pairs: list[Pair] = []
    for ids in chosen:
        if missing := [key for key in ids if key not in by_id]:
            raise UserError(f"Trajectory {missing[0]!r} is not in the pool, or has no clip.", fix="See manifest.csv.")
        if frozenset(ids) in seen:
            raise UserError(f"{ids[0]} and {ids[1]} were asked before.", fix="Leave that pair out.")
        a, b = by_id[ids[0]], by_id[ids[1]]
        pairs.append(make_pair(a, b, "gold" if stratum_of(a, b) == "distant" else "production", batch_id))
    return _write(ws, _assigned(ws, batch_id, "production", pairs, annotators, pool, notes))


def replacement_batch(ws: Workspace, lost: Sequence[Pair], *, force: bool = False, fill: bool = False) -> Batch | None:
    """A production batch with one new pair for each that was lost, of the same stratum; the protocol expects to
    lose 15 to 20 %. A pair is replaced once; its replacement can be replaced in turn.

    Args:
        lost: Every pair so far that ended without a label, with nobody left to ask.
        force, fill: As in `next_batch`.

    Returns:
        None where nothing is to be replaced.

    Raises:
        NotReady, StratumError: as `next_batch`.
    """
    wanted = to_replace(ws, lost)
    if not (count := wanted.total()):
        return None
    notes, annotators, batch_id, pool = _opened(ws, "production", force)
    shares: dict[Stratum, float] = {stratum: number / count for stratum, number in wanted.items()}
    pairs = [replace(pair, strategy=REPLACEMENT) for pair in _drawn(ws, pool, count, shares, batch_id, fill)]
    notes = [*notes, f"Replaces {count} lost pairs."]
    return _write(ws, _assigned(ws, batch_id, "production", pairs, annotators, pool, notes))


def to_replace(ws: Workspace, lost: Sequence[Pair]) -> Counter[Stratum]:
    """How many of the lost pairs have no replacement yet, by stratum."""
    wanted: Counter[Stratum] = Counter(pair.stratum for pair in lost)
    wanted.subtract(pair.stratum for pair in ws.store.pairs() if pair.strategy == REPLACEMENT)
    return +wanted


def shown(ws: Workspace) -> list[Trajectory]:
    """The ranked trajectories that have a clip.

    Raises:
        NotReady: there is none; the message says which of the stages before is missing.
    """
    pool = [trajectory for trajectory in ws.store.trajectories() if trajectory.in_pool]
    ranked = [trajectory for trajectory in pool if trajectory.quartile]
    if not pool:
        raise NotReady("There are no trajectories yet.", fix="Run `robopref pool` and `robopref clips` first.")
    if not ranked:
        raise NotReady(
            f"None of the {len(pool)} trajectories is ranked by quality, so no pairs can be chosen.",
            fix="A task type needs 4 trajectories or more: add episodes, or give all one task_type under "
            "[[pool.dataset]] in robopref.toml. Then run `robopref pool`.",
        )
    if not (found := [trajectory for trajectory in ranked if trajectory.clip]):
        raise NotReady(f"None of the {len(ranked)} ranked trajectories has a clip.", fix="Run `robopref clips` first.")
    return found


def _opening_notes(ws: Workspace, force: bool, *, rolling: bool = False) -> list[str]:
    """Notes on opening a batch now.

    Raises:
        NotReady: the previous batch is not accepted, and it is not forced.
    """
    before = ws.store.batches(calibration=False)
    if rolling and all(batch.status != "held" for batch in before):
        still = [f"{count} of {batch_id}" for batch_id, count in ws.store.open_by_batch().items()]
        return [f"Planned while answers were still to come: {', '.join(still)}."] if still else []
    if before and before[-1].status != "accepted":
        last = before[-1]
        why = f" {' '.join(last.reasons)}" if last.status == "held" else ""
        if not force:
            raise NotReady(
                f"Batch {last.batch_id} is {last.status}, not accepted.{why}",
                fix="Run `robopref qc` when it is answered, or open the next one with --force.",
            )
        return [f"Opened with --force: {last.batch_id} was {last.status}, not accepted."]
    return []


def _opened(
    ws: Workspace, kind: Kind, force: bool, *, rolling: bool = False
) -> tuple[list[str], list[str], str, list[Trajectory]]:
    """What a new batch begins with: its notes, the certified annotators, its id and the trajectories."""
    return _opening_notes(ws, force, rolling=rolling), certified(ws), next_id(ws, kind), shown(ws)


def next_id(ws: Workspace, kind: Kind) -> str:
    """The id of the next batch of that kind; those that came with an adopted release may have gaps."""
    batches = ws.store.batches()
    taken, number = {batch.batch_id for batch in batches}, 1 + sum(batch.kind == kind for batch in batches)
    while f"{kind}-{number:03d}" in taken:
        number += 1
    return f"{kind}-{number:03d}"


def _drawn(
    ws: Workspace, pool: Sequence[Trajectory], count: int, strata: Mapping[Stratum, float], batch_id: str, fill: bool
) -> list[Pair]:
    """`count` stratified pairs that were not asked before."""
    rng, exclude = ws.rng(f"pairs {batch_id}"), asked(ws.store.pairs())
    return sample_pairs(pool, count, strata=strata, rng=rng, batch_id=batch_id, exclude=exclude, fill=fill)


def _drafted(ws: Workspace, annotators: Sequence[str], notes: Sequence[str], count: int, fill: bool) -> Draft:
    settings = ws.config.pairs
    strata: dict[Stratum, float] = {
        "adjacent": settings.strata.adjacent,
        "same": settings.strata.same,
        "distant": settings.strata.distant,
    }
    batch_id, pool = next_id(ws, "production"), shown(ws)
    pairs = _drawn(ws, pool, count or usual_size(ws), strata, batch_id, fill)
    return _assigned(ws, batch_id, "production", pairs, annotators, pool, [*notes, *shortfalls(pairs, strata)])


def active_batch(
    ws: Workspace,
    chosen: Sequence[tuple[str, str]],
    strategies: Sequence[str],
    *,
    force: bool = False,
    rolling: bool = False,
) -> Batch:
    """A batch of the pairs that the ranking chose; those that were asked before are left out.

    Args:
        chosen: Trajectory ids, two each.
        strategies: The rule that proposed each.
        force: As in `next_batch`.
        rolling: Also while batches before still wait for their last answers; the notes record it. One that is held
            is in the way.

    Raises:
        NotReady: as `next_batch`; or all of them were asked before.
    """
    return _write(ws, draft_active(ws, chosen, strategies, force=force, rolling=rolling))


def draft_active(
    ws: Workspace,
    chosen: Sequence[tuple[str, str]],
    strategies: Sequence[str],
    *,
    force: bool = False,
    rolling: bool = False,
) -> Draft:
    """The batch that `active_batch` would make, with who would be asked what; nothing is written."""
    notes, annotators, batch_id, pool = _opened(ws, "active", force, rolling=rolling)
    seen = asked(ws.store.pairs())
    fresh: dict[PairKey, tuple[tuple[str, str], str]] = {}
    for ids, strategy in zip(chosen, strategies, strict=True):
        if (key := frozenset(ids)) not in seen:
            fresh.setdefault(key, (ids, strategy))
    if not fresh:
        raise NotReady(f"All {len(chosen)} chosen pairs have been asked before.", fix="Rank again: `robopref round`.")
    wanted, rules = zip(*fresh.values(), strict=True)
    pairs = active_pairs(wanted, rules, pool, batch_id, rng=ws.rng(f"pairs {batch_id}"))
    return _assigned(ws, batch_id, "active", pairs, annotators, pool, notes)


def _assigned(
    ws: Workspace,
    batch_id: str,
    kind: Kind,
    pairs: list[Pair],
    annotators: Sequence[str],
    pool: Sequence[Trajectory],
    notes: Sequence[str],
) -> Draft:
    """Who gets which of the pairs; what the plan warns of becomes the batch's notes."""
    settings = ws.config.pairs
    assignments = assign(
        pairs,
        annotators,
        overlap=settings.overlap,
        duplicates=settings.duplicates,
        duplicate_distance=settings.duplicate_distance,
        batch_id=batch_id,
        rng=ws.secret_rng(f"assignments {batch_id}"),
        likely=likely_answers(pairs, pool),
    )
    lasts = {t.trajectory_id: t.end_s - t.start_s + ws.config.clips.freeze_s for t in pool}
    plan = plan_table(
        assignments,
        clip_s={pair.pair_id: max(lasts[pair.trajectory_a_id], lasts[pair.trajectory_b_id]) for pair in pairs},
        duplicates=settings.duplicates,
        duplicate_distance=settings.duplicate_distance,
    )
    batch = Batch(batch_id, kind, created_at=now(), notes=[*notes, *plan.warnings])
    return Draft(batch, pairs, assignments, plan)


def _write(ws: Workspace, made: Draft) -> Batch:
    ws.store.put_pairs(made.batch, made.pairs, made.assignments)
    return made.batch


def append(ws: Workspace, assignments: Sequence[Assignment]) -> None:
    """Add assignments of pairs that exist to their own batches."""
    by_batch: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        by_batch.setdefault(assignment.batch_id, []).append(assignment)
    for batch in ws.store.batches():
        if batch.batch_id in by_batch:
            ws.store.put_pairs(batch, [], by_batch[batch.batch_id])


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
