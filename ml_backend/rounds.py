"""The active-learning round: settle what was answered, train, rank, and ask the next pairs.

What the worker does by itself and `robopref round` by hand is this one function. Every step is a stage that does what
is missing and nothing twice, so a round that was killed is finished by running it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from importer.batches import active_batch
from importer.queues import PLANNED
from importer.studio_stages import pull, push, rescore
from importer.thirds import thirds
from ml_backend.pays import no_longer_pays
from ml_backend.queue_scores import queue_scores
from preference.errors import NotReady
from preference.records import Batch, ModelVersion, Preference
from preference.workspace import Workspace
from qc_reports.stages import qc, resolve


@dataclass(frozen=True)
class RoundResult:
    """What one round did, or in a dry run would do."""

    model: ModelVersion | None
    batch: Batch | None
    pairs: int
    strategies: dict[str, int] = field(default_factory=dict)
    """Selection rule → how many pairs it chose."""
    waiting_for: str = ""
    """Why nothing was asked; empty when something was."""


def settle(ws: Workspace) -> list[Preference]:
    """Pull, resolve, and ask a third annotator wherever two differ.

    Returns:
        The preferences as they stand; those with reason `needs_third` now wait for an answer.
    """
    pull(ws)
    preferences = resolve(ws)
    contested = [p.pair_id for p in preferences if p.reason == "needs_third"]
    if contested and thirds(ws, contested):
        push(ws)
    return preferences


def open_assignments(ws: Workspace) -> dict[str, int]:
    """How many assignments of each production or active batch still wait for an answer; only batches with some."""
    answered = {judgment.assignment_id for judgment in ws.store.judgments()}
    waiting: dict[str, int] = {}
    for view in ws.store.assignments():
        if view.pair.kind != "calibration" and view.assignment.assignment_id not in answered:
            waiting[view.assignment.batch_id] = waiting.get(view.assignment.batch_id, 0) + 1
    return waiting


def run_round(ws: Workspace, *, pairs: int | None = None, dry_run: bool = False, force: bool = False) -> RoundResult:
    """QC gate → train → rank → assign → push → new scores for all open tasks.

    Args:
        pairs: How many to ask; default: `active.pairs` of the configuration.
        dry_run: Rank and say, but ask nothing.
        force: Go on although a batch is unfinished or held, or more labels no longer pay.

    Raises:
        NotReady: a batch is unfinished or held, or the bootstrap batch has not been asked yet.
    """
    from ml_backend.stages import rank, train

    preferences = settle(ws)
    if not force:
        _check_gate(ws, preferences)
    train(ws)
    model = ws.store.active_model()  # a new one that is worse does not take over
    if not force and (reason := no_longer_pays(ws.store.model_versions(), ws.config.active.most_per_point)):
        return RoundResult(model, None, 0, {}, waiting_for=reason)
    chosen = rank(ws, pairs or ws.config.active.pairs)
    strategies: dict[str, int] = {}
    for choice in chosen:
        strategies[choice.strategy] = strategies.get(choice.strategy, 0) + 1
    if dry_run or not chosen:
        reason = "dry run" if chosen else "every pair of the pool has been asked"
        return RoundResult(model, None, len(chosen), strategies, waiting_for=reason)
    ids, rules = [choice.trajectories for choice in chosen], [choice.strategy for choice in chosen]
    batch = active_batch(ws, ids, rules, force=force)
    push(ws)
    rescore(ws, queue_scores(ws), model.version if model else PLANNED)
    return RoundResult(model, batch, len(chosen), strategies)


def _check_gate(ws: Workspace, preferences: list[Preference]) -> None:
    """Every batch answered and accepted, or NotReady with the reasons; a finished batch gets its QC here."""
    if waiting := open_assignments(ws):
        batch_id, count = next(iter(waiting.items()))
        raise NotReady(f"Batch {batch_id} still waits for {count} answers.", fix="Or go on with --force.")
    labelled = sum(p.preference is not None for p in preferences)
    if labelled < ws.config.reward.min_preferences:
        raise NotReady(
            f"{labelled} labelled pairs; an active round starts from at least {ws.config.reward.min_preferences}.",
            fix="Run `robopref pairs` and `robopref push` for a first, stratified batch.",
        )
    for batch in ws.store.batches():
        if batch.kind == "calibration" or batch.status == "accepted":
            continue
        report = qc(ws, batch.batch_id)
        if report.status != "accepted":
            raise NotReady(
                f"Batch {batch.batch_id} is held by QC: {'; '.join(report.reasons)}.",
                fix="See its report.html; accept it with `robopref qc --accept`, or go on with --force.",
            )
