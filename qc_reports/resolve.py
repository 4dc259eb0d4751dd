"""Resolution over a workspace: all judgments that count go in, one preference for each pair comes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from preference.adjudicated import decisions
from preference.artifacts import plain, write_json, write_jsonl
from preference.records import AssignmentView, Pair, Preference, Resolution, ResolutionReason
from preference.workspace import Workspace
from qc_reports.annotators.clock import clock_flags, with_clock
from qc_reports.annotators.examine import flags
from qc_reports.annotators.history import batches_before, settled_later, with_experts
from qc_reports.annotators.reviews import ReviewStatus, by_batch, review_status
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered, join, unanswered, waiting_by_pair
from qc_reports.changes import changed_batches
from qc_reports.report.batch_report import flags_rng, set_aside
from qc_reports.resolution import methods
from qc_reports.resolution.disputed import with_decision
from qc_reports.resolution.exclusions import left_out
from qc_reports.resolution.vote import LOST
from qc_reports.resolution.vote import resolve as resolve_pairs

RESOLUTION = "resolution.json"
"""Beside the batches' reports: what leaving people out changes, and where the methods differ, over all batches."""


@dataclass(frozen=True)
class Resolved:
    """All labels, and whose judgments they do without."""

    preferences: list[Preference]
    left_out: set[tuple[str, str]]
    """(batch, annotator) whose judgments do not count at present."""


def resolve(ws: Workspace) -> list[Preference]:
    """The preferences of `resolve_labels`."""
    return resolve_labels(ws).preferences


def set_aside_now(ws: Workspace) -> tuple[set[str], set[tuple[str, str]]]:
    """Batches that are held, or were changed after they were accepted; and (batch, annotator) whose judgments do not
    count at present."""
    held = {batch.batch_id for batch in ws.store.batches() if batch.status == "held"} | set(changed_batches(ws))
    where = review_statuses(ws, answers_to(ws, ws.store.assignments(calibration=False)))
    return held, {(batch_id, name) for batch_id, one in where.items() for name in one.left_out}


def resolve_labels(ws: Workspace) -> Resolved:
    """Resolve every production and active pair into the database; export preferences.jsonl and resolution.json.

    Judgments of annotators whom a batch's flags accuse are left out until they are reviewed. Pairs of a batch that is
    held, or whose answers were changed after it was accepted, have no label until it is accepted.
    """
    views = ws.store.assignments(calibration=False)
    answers = answers_to(ws, views)
    pairs = ws.store.pairs(calibration=False)
    held = {batch.batch_id for batch in ws.store.batches() if batch.status == "held"} | set(changed_batches(ws))
    where = review_statuses(ws, answers)
    out = {(batch_id, name) for batch_id, one in where.items() for name in one.left_out}
    counting = [a for a in answers if (a.batch_id, a.annotator_id) not in out]
    dropped = {(batch_id, r.annotator_id) for batch_id, one in where.items() for r in one.dropped}
    waiting = waiting_by_pair(unanswered(views, answers, skipped=ws.store.skipped(), dropped=dropped))
    aside: dict[str, ResolutionReason] = {}
    for batch_id, one in where.items():
        aside |= set_aside([a for a in answers if a.batch_id == batch_id], one)
    voted = resolve_pairs(pairs, counting, waiting=waiting, aside=aside, held=held)
    adopted = {batch.batch_id for batch in ws.store.batches() if batch.adopted}
    fixed = {pair.pair_id for pair in pairs if pair.batch_id in adopted}
    preferences = methods.apply(ws.config.quality.resolution, pairs, counting, voted, fixed=fixed)
    decided = decisions(ws)
    preferences = [with_decision(p, decided[p.pair_id]) if p.pair_id in decided else p for p in preferences]
    with_all = resolve_pairs(pairs, answers, waiting=waiting, held=held)
    change = left_out(
        with_all,
        voted,
        pending=sorted({name for one in where.values() for name in one.pending}),
        dropped=sorted({name for _, name in dropped}),
        judgments=len(answers) - len(counting),
    )
    differ = methods.differences(pairs, counting, voted)
    reviews = [
        {"batch_id": batch_id, "annotator_id": name, "kinds": one.accused[name]}
        for batch_id, one in where.items()
        for name in one.pending
    ]
    resolution = Resolution(ws.config.quality.resolution, {**plain(change), "reviews": reviews}, plain(differ))
    ws.store.put_resolution(resolution, preferences)
    write_jsonl(ws.preferences, preferences)
    write_json(ws.reports / RESOLUTION, resolution)
    return Resolved(preferences, out)


def outcomes_said(ws: Workspace, without: Collection[str] = ()) -> Mapping[str, tuple[bool, bool]]:
    """trajectory_id → whether most annotators who were asked for its outcome say success, not where half do; and
    whether several were asked. Only judgments that count for labels do here, and each person once.

    Args:
        without: pair_ids whose answers do not count.
    """
    answered = [judgment for judgment in ws.store.judgments() if judgment.questions.get("outcome")]
    if not answered:
        return {}
    held, out = set_aside_now(ws)
    views = {view.assignment.assignment_id: view for view in ws.store.assignments(calibration=False)}
    votes: dict[str, dict[str, bool]] = defaultdict(dict)
    for judgment in answered:
        if (view := views.get(judgment.assignment_id)) is None:
            continue
        batch = view.assignment.batch_id
        if batch in held or (batch, judgment.annotator_id) in out or view.pair.pair_id in without:
            continue
        for letter, word in judgment.questions["outcome"].items():
            name = view.pair.trajectory_a_id if letter == "A" else view.pair.trajectory_b_id
            votes[name][judgment.annotator_id] = word == "success"
    found = {name: list(own.values()) for name, own in votes.items()}
    return {name: (sum(own) * 2 > len(own), len(own) > 1) for name, own in found.items() if sum(own) * 2 != len(own)}


def lost(ws: Workspace) -> list[Pair]:
    """Pairs that ended without a label, with nobody left to ask, as they were resolved last.

    Raises:
        NotReady: nothing has been resolved yet.
    """
    gone = {p.pair_id for p in ws.store.preferences() if p.reason in LOST}
    return [pair for pair in ws.store.pairs() if pair.pair_id in gone]


def answers_to(ws: Workspace, views: Sequence[AssignmentView]) -> list[Answered]:
    """Every answer to these assignments, held against the server's clock, with the expert's word as gold."""
    judgments = ws.store.judgments()
    return with_experts(ws, with_clock(ws, join(judgments, views), judgments))


def review_statuses(ws: Workspace, answers: Sequence[Answered]) -> dict[str, ReviewStatus]:
    """Batch → who of its annotators is flagged, and what reviews said of them."""
    groups: dict[str, list[Answered]] = {}
    for answer in answers:
        groups.setdefault(answer.batch_id, []).append(answer)
    order, reviews = [batch.batch_id for batch in ws.store.batches()], ws.store.reviews()
    own_reviews = by_batch(reviews)
    found = {}
    for batch_id, own in groups.items():
        stats = annotator_stats(own, ws.config.quality)
        accused = clock_flags(own) + flags(
            own,
            stats,
            ws.config.quality,
            rng=flags_rng(batch_id),
            earlier=batches_before(order, batch_id, answers, reviews),
            settled=settled_later(order, batch_id, reviews),
        )
        found[batch_id] = review_status(accused, own_reviews.get(batch_id, []))
    return found
