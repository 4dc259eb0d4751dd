"""The active-learning round: settle what was answered, train, rank, and ask the next pairs.

What the worker does by itself and `robopref round` by hand is this one function. Every step is a stage that does what
is missing and nothing twice, so a round that was killed at any step is finished by running it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from importer.pairs.batches import active_batch, draft_active
from importer.pairs.third_opinions import ask_third
from importer.studio.order import out_of_order, rescore
from importer.studio.pull import pull
from importer.studio.push import push
from importer.studio.queues import PLANNED
from ml_backend.loop.queue_order import queue_scores
from ml_backend.validation.stopping import no_longer_pays
from preference.errors import NotReady
from preference.records import Batch, ModelVersion, Preference
from preference.workspace import Workspace
from qc_reports.qc import qc
from qc_reports.resolve import left_out_now, read_preferences, resolve

if TYPE_CHECKING:
    from ml_backend.ranking import Choice

EXPECTED_YIELD = 0.8
"""Of the pairs asked so many get a label at least: 15-20 % are lost to discards (the protocol)."""


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
    chosen: tuple[Choice, ...] = ()
    """The pairs, with both rewards and what is expected of each."""
    loads: dict[str, int] = field(default_factory=dict)
    """Annotator → tasks that they would get; known of a dry run."""


def settle(ws: Workspace, *, whole: bool = False) -> list[Preference]:
    """Pull, resolve, and ask a third annotator wherever two differ.

    Args:
        whole: Pull every task anew, whatever the time stamps say.

    Returns:
        The preferences as they stand; those with reason `needs_third` now wait for an answer.
    """
    pull(ws, whole=whole)
    preferences = resolve(ws)
    contested = [p.pair_id for p in preferences if p.reason == "needs_third"]
    if contested and ask_third(ws, contested, left_out_now(ws)):
        push(ws)
    return preferences


def check_finished(ws: Workspace) -> list[str]:
    """QC of every batch that has got its last answer and no report yet, so that it lies there for whoever looks.

    Returns:
        The batches that were checked.
    """
    waiting, started = open_assignments(ws), {j.pair_id for j in ws.store.judgments()}
    due = [
        batch.batch_id
        for batch in ws.store.batches()
        if batch.kind != "calibration"
        and batch.status == "open"
        and batch.batch_id not in waiting
        and any(pair.pair_id in started for pair in ws.store.pairs(batch.batch_id))
    ]
    for batch_id in due:
        qc(ws, batch_id)
    return due


def open_assignments(ws: Workspace) -> dict[str, int]:
    """How many assignments of each production or active batch still wait for an answer; only batches with some."""
    return ws.store.open_by_batch()


def bootstrap_labels(ws: Workspace) -> int:
    """Labelled pairs that the first active round starts from: `active.bootstrap`, less what a batch usually loses."""
    return max(ws.config.reward.min_preferences, round(ws.config.active.bootstrap * EXPECTED_YIELD))


def run_round(ws: Workspace, *, pairs: int | None = None, dry_run: bool = False, force: bool = False) -> RoundResult:
    """QC gate → train → rank → assign → push → new scores for all open tasks.

    Args:
        pairs: How many to ask; default: `active.pairs` of the configuration.
        dry_run: Say what would be asked by the model in use; nothing is fetched, trained, written or pushed.
        force: Go on although a batch is unfinished or held, the bootstrap is short, or more labels no longer pay.

    Raises:
        NotReady: a batch is unfinished or held, or the bootstrap batch has not been asked yet.
    """
    from ml_backend.loop.scoring import rank
    from ml_backend.loop.train import train

    count = pairs or ws.config.active.pairs
    if dry_run:
        return _rehearsed(ws, count)
    preferences = settle(ws)
    deliver(ws)
    if not force:
        _check_gate(ws, preferences)
    train(ws)
    model = ws.store.active_model()  # a new one that is worse does not take over
    if not force and (reason := no_longer_pays(ws.store.model_versions(), ws.config.active.most_per_point)):
        return RoundResult(model, None, 0, {}, waiting_for=reason)
    chosen = rank(ws, count)
    if not chosen:
        return RoundResult(model, None, 0, {}, waiting_for="every pair of the pool has been asked")
    batch = active_batch(ws, *_columns(chosen), force=force)
    scores = queue_scores(ws)
    push(ws, scores=scores)
    rescore(ws, scores, model.version if model else PLANNED)
    return RoundResult(model, batch, len(chosen), _by_rule(chosen), chosen=tuple(chosen))


def deliver(ws: Workspace) -> None:
    """What is planned and not in Label Studio, also by a round that was killed: its tasks, the newest model's order."""
    if ws.store.count_without_task():
        # in the model's order from the start: a kill before `rescore` is seen by nothing where the model is the same
        push(ws, scores=queue_scores(ws))
    model = ws.store.active_model()
    version = model.version if model else PLANNED
    if out_of_order(ws, version):
        rescore(ws, queue_scores(ws), version)


def _rehearsed(ws: Workspace, count: int) -> RoundResult:
    """What a round would ask if the model in use stayed the newest, and what it would wait for."""
    from ml_backend.loop.scoring import rank

    model = ws.store.active_model()
    preferences = read_preferences(ws.preferences)
    chosen = rank(ws, count)
    loads: dict[str, int] = {}
    if chosen:
        drafted = draft_active(ws, *_columns(chosen), force=True)
        loads = dict(sorted(Counter(one.annotator_id for one in drafted.assignments).items()))
    reasons = _unanswered(ws)
    unaccepted = [b.batch_id for b in ws.store.batches() if b.kind != "calibration" and b.status != "accepted"]
    if not reasons and unaccepted:
        reasons.append(f"QC of {', '.join(unaccepted)} comes first")
    reasons += _unlabelled(ws, preferences)
    labelled = sum(p.preference is not None for p in preferences)
    if model and labelled != model.preferences:
        reasons.append(f"a model of {labelled} labelled pairs would be trained first, {model.version} has seen "
                       f"{model.preferences}")  # fmt: skip
    if pays := no_longer_pays(ws.store.model_versions(), ws.config.active.most_per_point):
        reasons.append(pays)
    told = "; ".join(["dry run", *reasons])
    return RoundResult(model, None, len(chosen), _by_rule(chosen), told, tuple(chosen), loads)


def _columns(chosen: Sequence[Choice]) -> tuple[list[tuple[str, str]], list[str]]:
    return [choice.trajectories for choice in chosen], [choice.strategy for choice in chosen]


def _by_rule(chosen: Sequence[Choice]) -> dict[str, int]:
    return dict(Counter(choice.strategy for choice in chosen))


def _unanswered(ws: Workspace) -> list[str]:
    return [f"batch {batch_id} still waits for {count} answers" for batch_id, count in open_assignments(ws).items()]


def _unlabelled(ws: Workspace, preferences: Sequence[Preference]) -> list[str]:
    labelled = sum(p.preference is not None for p in preferences)
    needed = ws.config.reward.min_preferences if ws.store.active_model() else bootstrap_labels(ws)
    return [] if labelled >= needed else [f"{labelled} labelled pairs; an active round starts from at least {needed}"]


def _check_gate(ws: Workspace, preferences: Sequence[Preference]) -> None:
    """Every batch answered and accepted, or NotReady with the reasons; a finished batch gets its QC here."""
    if reasons := _unanswered(ws):
        raise NotReady(f"B{reasons[0][1:]}.", fix="Or go on with --force.")
    for batch in ws.store.batches():
        if batch.kind == "calibration" or batch.status == "accepted":
            continue
        report = qc(ws, batch.batch_id)
        if report.status != "accepted":
            raise NotReady(
                f"Batch {batch.batch_id} is held by QC: {'; '.join(report.reasons)}.",
                fix=f"See its report.html; then `robopref batch review` or `robopref batch accept {batch.batch_id}`, "
                "or go on with --force.",
            )
    if reasons := _unlabelled(ws, preferences):
        raise NotReady(
            f"{reasons[0]}.",
            fix="Run `robopref pairs` and `robopref push` for a stratified batch first, or go on with --force.",
        )
