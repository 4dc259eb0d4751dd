"""What a project knows beside one batch's answers: the expert's word on gold, and the batches before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from preference.records import OPPOSITE, Answer
from preference.workspace import Workspace
from qc_reports.answers import Answered


def with_experts(ws: Workspace, answers: Iterable[Answered]) -> list[Answered]:
    """`answers` with the expert's word as gold, in place of the quartiles' order, where an expert answered a pair of
    the same two trajectories, in whatever batch or set."""
    experts = ws.store.experts()
    pairs = {pair.pair_id: pair for pair in ws.store.pairs()}
    said: dict[tuple[str, str], Answer] = {}
    for judgment in ws.store.judgments():
        pair = pairs.get(judgment.pair_id)
        if pair and judgment.annotator_id in experts:
            said[pair.trajectory_a_id, pair.trajectory_b_id] = judgment.preference
            said[pair.trajectory_b_id, pair.trajectory_a_id] = OPPOSITE[judgment.preference]
    found = []
    for a in answers:
        pair = pairs.get(a.pair_id)
        word = said.get((pair.trajectory_a_id, pair.trajectory_b_id)) if pair else None
        gold = word is not None and a.expected is not None
        found.append(replace(a, expected=word, expected_by_expert=True) if gold else a)
    return found


def batches_before(ws: Workspace, batch_id: str, answers: Sequence[Answered]) -> list[list[Answered]]:
    """Answers of the batches before one, the newest batch first. What a review settled is held against nobody again.

    Args:
        answers: Of all batches.
    """
    order = [batch.batch_id for batch in ws.store.batches()]
    settled = {(review.batch_id, review.annotator_id) for review in ws.store.reviews()}
    groups: dict[str, list[Answered]] = {name: [] for name in reversed(order[: order.index(batch_id)])}
    for a in answers:
        if a.batch_id in groups and (a.batch_id, a.annotator_id) not in settled:
            groups[a.batch_id].append(a)
    return [group for group in groups.values() if group]
