"""The active-learning round: update the labels, train, rank, and ask the next pairs.

The worker and `robopref round` run this one function. Every step is a stage that does what is missing and nothing
twice, so a round that was killed at any step is finished by running it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from importer.pairs.batches import active_batch, draft_active, shown
from importer.pairs.pace import loads
from importer.pairs.sampling import asked
from importer.pairs.third_opinions import ask_third
from importer.studio.hand_over import hand_over
from importer.studio.order import out_of_order, rescore
from importer.studio.participants import finish_outside
from importer.studio.pull import pull
from importer.studio.push import push
from ml_backend.loop.models import score_pool
from ml_backend.loop.queue_order import publish, publish_if_changed, queue_scores, version_in_use
from ml_backend.loop.train import train
from ml_backend.ranking import Choice, PoolScores, TieProbability, davidson_ties, fitted_ties, rank_pairs
from ml_backend.validation.learning_curve import why_stop
from preference.errors import NotReady
from preference.records import Batch, ModelVersion, Preference
from preference.workspace import Workspace
from qc_reports.qc import check_batch, qc, reopen_changed
from qc_reports.resolve import resolve_labels

EARLIEST = 0.5
"""Share of a batch that is answered before the next round at the least."""
EXPECTED_YIELD = 0.8
"""Share of the asked pairs that get a label: 15-20 % are lost to discards (the protocol)."""


@dataclass(frozen=True)
class RoundResult:
    """What one round did, or would do in a dry run."""

    model: ModelVersion | None
    batch: Batch | None
    pairs: int
    strategies: dict[str, int] = field(default_factory=dict)
    """Selection rule → how many pairs it chose."""
    waiting_for: str = ""
    """Why nothing was asked; empty if something was."""
    chosen: tuple[Choice, ...] = ()
    """The pairs, with both rewards and the expected gain of each."""
    loads: dict[str, int] = field(default_factory=dict)
    """Annotator → tasks that they would get; in a dry run only."""


def update_labels(ws: Workspace, *, whole: bool = False) -> list[Preference]:
    """Pull, hold batches whose answers changed, hand over what people left open, resolve, and ask a third annotator
    wherever two differ.

    Args:
        whole: Pull every task again, whatever the time stamps say.

    Returns:
        The current preferences; those with reason `needs_third` now wait for an answer.
    """
    pull(ws, whole=whole)
    reopen_changed(ws)
    finish_outside(ws)
    if hand_over(ws, lambda: queue_scores(ws)).moved:
        push(ws, scores=publish(ws))
    resolved = resolve_labels(ws)
    contested = [p.pair_id for p in resolved.preferences if p.reason == "needs_third"]
    if contested and ask_third(ws, contested, resolved.left_out):
        push(ws)
    return resolved.preferences


def check_finished(ws: Workspace) -> list[str]:
    """QC of every batch that has its last answer and no report yet, so that managers find one.

    Returns:
        The batches that were checked.
    """
    waiting, started = ws.store.open_by_batch(), {j.pair_id for j in ws.store.judgments()}
    due = [
        batch.batch_id
        for batch in ws.store.batches(calibration=False)
        if batch.status == "open"
        and batch.batch_id not in waiting
        and any(pair.pair_id in started for pair in ws.store.pairs(batch.batch_id))
    ]
    for batch_id in due:
        qc(ws, batch_id)
    return due


def unfinished(ws: Workspace, now: datetime | None = None) -> dict[str, int]:
    """Batch → missing answers, of the batches that the next round waits for.

    Of each batch `active.plan_next_at` has to be answered. Where somebody at work runs out of pairs, and nobody has any
    to spare, half of it is enough; but not where the settings ask for the last answer.
    """
    share, sizes = ws.config.active.plan_next_at, ws.store.progress_by_batch()
    if share < 1.0 and loads(ws, now).low:
        share = min(share, EARLIEST)
    return {
        key: count for key, count in ws.store.open_by_batch().items() if count > (1.0 - share) * sizes[key][1] + 1e-9
    }


def bootstrap_labels(ws: Workspace) -> int:
    """Labelled pairs that the first active round starts from: `active.bootstrap` less the usual losses."""
    return max(ws.config.reward.min_preferences, round(ws.config.active.bootstrap * EXPECTED_YIELD))


def run_round(
    ws: Workspace,
    *,
    dry_run: bool = False,
    force: bool = False,
    labels: list[Preference] | None = None,
) -> RoundResult:
    """QC gate → train → rank → assign → push → new scores for all open tasks.

    Args:
        dry_run: Say what the model in use would ask; nothing is fetched, trained, written or pushed.
        force: Go on although a batch is unfinished or held, the bootstrap is short, or more labels no longer help.
        labels: What `update_labels` said just now; default: it is asked.

    Raises:
        NotReady: a batch lacks more answers than `active.plan_next_at` allows or is held, or the bootstrap batch has
            not been asked yet.
    """
    if dry_run:
        return _dry_run(ws)
    preferences = update_labels(ws) if labels is None else labels
    deliver(ws)
    if not force:
        check_gate(ws, preferences)
    train(ws)
    model = ws.store.active_model()  # a new one that is worse does not take over
    if not force and (reason := why_stop(ws.store.model_versions(), ws.config.active)):
        return RoundResult(model, None, 0, {}, waiting_for=reason)
    chosen = rank(ws, ws.config.active.pairs)
    if not chosen:
        return RoundResult(model, None, 0, {}, waiting_for="every pair of the pool has been asked")
    batch = active_batch(ws, *_columns(chosen), force=force, rolling=not force)
    scores = publish(ws)
    push(ws, scores=scores)
    rescore(ws, scores, version_in_use(ws))
    return RoundResult(model, batch, len(chosen), _by_rule(chosen), chosen=tuple(chosen))


def rank(
    ws: Workspace,
    count: int,
    strategy: str | None = None,
    *,
    among: Sequence[tuple[str, str]] | None = None,
    again: bool = False,
) -> list[Choice]:
    """The `count` pairs most worth asking next, of those that can be shown and have not been asked.

    Args:
        among: Only of these pairs.
        again: Pairs that were asked may be named again; without `among`, only these are ranked. So a round can be
            replayed over answers that exist.

    Raises:
        NotReady: there is no model.
        ConfigError: the strategy does not exist.
        DataError: a pair of `among` cannot be ranked.
    """
    known = asked(ws.store.pairs())
    if again and among is None:
        among = sorted((a, b) for a, b in map(sorted, known))
    active = ws.config.active
    strategy = strategy or active.strategy
    scores = score_pool(ws, plan=strategy == "v_optimal")
    ties = _tie_probability(ws, scores)
    askable = {t.trajectory_id for t in shown(ws)}
    rows = [i for i, name in enumerate(scores.trajectory_ids) if name in askable]
    scores = scores.take(rows)
    return rank_pairs(
        scores,
        count,
        strategy=strategy,
        asked=set(known),
        audit=active.audit,
        within_sd=active.within_sd,
        rng=ws.rng(f"rank {len(ws.store.batches())}"),
        ties=ties,
        among=among,
        again=again,
    )


def _tie_probability(ws: Workspace, scores: PoolScores) -> TieProbability | None:
    """From the model if it has learned ties, else from the answers so far; None where these are too few."""
    if scores.nu is not None:
        return davidson_ties(scores.nu)
    reward = dict(zip(scores.trajectory_ids, scores.rewards.tolist(), strict=True))
    known = [
        (reward[p.trajectory_a_id] - reward[p.trajectory_b_id], p.preference == 0.5)
        for p in (ws.store.labelled() if ws.store.resolved() else [])
        if p.trajectory_a_id in reward and p.trajectory_b_id in reward
    ]
    difference, tie = np.array(known, dtype=float).reshape(-1, 2).T
    return fitted_ties(difference, tie == 1.0)


def deliver(ws: Workspace) -> None:
    """Bring what is planned and not yet in Label Studio there, also after a kill: tasks, and the order of the model in
    use."""
    publish_if_changed(ws)
    if ws.store.count_without_task():
        # in the model's order from the start: nothing notices a kill before `rescore` where the model stays the same
        push(ws, scores=queue_scores(ws))
    version = version_in_use(ws)
    if out_of_order(ws, version):
        rescore(ws, queue_scores(ws), version)


def _dry_run(ws: Workspace) -> RoundResult:
    """What a round would ask if the model in use stayed, and what it would wait for."""
    model = ws.store.active_model()
    preferences = ws.store.preferences()
    chosen = rank(ws, ws.config.active.pairs)
    loads: dict[str, int] = {}
    if chosen:
        drafted = draft_active(ws, *_columns(chosen), force=True)
        loads = dict(sorted(Counter(one.annotator_id for one in drafted.assignments).items()))
    reasons = _unanswered(ws)
    waiting = ws.store.open_by_batch()
    unaccepted = [b.batch_id for b in ws.store.batches(calibration=False)
                  if b.status == "held" or (b.status == "open" and b.batch_id not in waiting)]  # fmt: skip
    if not reasons and unaccepted:
        reasons.append(f"QC of {', '.join(unaccepted)} comes first")
    reasons += _unlabelled(ws, preferences)
    labelled = sum(p.preference is not None for p in preferences)
    if model and labelled != model.preferences:
        reasons.append(f"a model of {labelled} labelled pairs would be trained first: {model.version} was trained on "
                       f"{model.preferences}")  # fmt: skip
    if stopping := why_stop(ws.store.model_versions(), ws.config.active):
        reasons.append(stopping)
    why = "; ".join(["dry run", *reasons])
    return RoundResult(model, None, len(chosen), _by_rule(chosen), why, tuple(chosen), loads)


def _columns(chosen: Sequence[Choice]) -> tuple[list[tuple[str, str]], list[str]]:
    return [choice.trajectories for choice in chosen], [choice.strategy for choice in chosen]


def _by_rule(chosen: Sequence[Choice]) -> dict[str, int]:
    return dict(Counter(choice.strategy for choice in chosen))


def _unanswered(ws: Workspace) -> list[str]:
    return [f"batch {batch_id} still waits for {count} answers" for batch_id, count in unfinished(ws).items()]


def _unlabelled(ws: Workspace, preferences: Sequence[Preference]) -> list[str]:
    labelled = sum(p.preference is not None for p in preferences)
    needed = ws.config.reward.min_preferences if ws.store.active_model() else bootstrap_labels(ws)
    return [] if labelled >= needed else [f"{labelled} labelled pairs; an active round starts from at least {needed}"]


def check_gate(ws: Workspace, preferences: Sequence[Preference]) -> None:
    """Let the next round be planned only if every batch is answered as far as `active.plan_next_at` asks, and accepted.

    A batch that has its last answer gets its QC here. Of one that has not, QC of the answers so far has to pass.

    Raises:
        NotReady: with the reasons.
    """
    if reasons := _unanswered(ws):
        raise NotReady(f"B{reasons[0][1:]}.", fix="Or continue with --force.")
    waiting = ws.store.open_by_batch()
    for batch in ws.store.batches(calibration=False):
        if batch.status == "accepted":
            continue
        so_far = batch.batch_id in waiting and batch.status == "open"
        report = check_batch(ws, batch.batch_id, so_far=True).report if so_far else qc(ws, batch.batch_id)
        if report.status != "accepted":
            raise NotReady(
                f"Batch {batch.batch_id} {'would be' if so_far else 'is'} held by QC: {'; '.join(report.reasons)}.",
                fix=f"See its report.html; then `robopref batch review` or `robopref batch accept {batch.batch_id}`, "
                "or continue with --force.",
            )
    if reasons := _unlabelled(ws, preferences):
        raise NotReady(
            f"{reasons[0]}.",
            fix="Run `robopref pairs` and `robopref push` for a stratified batch first, or continue with --force.",
        )
