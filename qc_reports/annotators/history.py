"""What a project knows beside one batch's answers: the expert's word on gold, and the batches before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from preference.records import OPPOSITE, Answer, Review
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


def batches_before(
    order: Sequence[str], batch_id: str, answers: Iterable[Answered], reviews: Sequence[Review]
) -> list[list[Answered]]:
    """Answers of the batches before one, the newest batch first, without what reviews of these batches settled.

    Args:
        order: All batches, the oldest first.
        answers: Of all batches.
        reviews: Of all batches.
    """
    place = {name: i for i, name in enumerate(order[: order.index(batch_id)])}
    settled = {(review.batch_id, review.annotator_id) for review in reviews}
    repeats = _repeats_settled(reviews, place)
    groups: dict[str, list[Answered]] = {name: [] for name in reversed(place)}
    for a in answers:
        if a.batch_id not in place or (a.batch_id, a.annotator_id) in settled:
            continue
        if not a.duplicate or place[a.batch_id] > repeats.get(a.annotator_id, -1):
            groups[a.batch_id].append(a)
    return [group for group in groups.values() if group]


def settled_later(order: Sequence[str], batch_id: str, reviews: Iterable[Review]) -> set[str]:
    """Annotators whose repeats in a batch were settled by a review of a later one; arguments as above."""
    place = {name: i for i, name in enumerate(order)}
    return {name for name, last in _repeats_settled(reviews, place).items() if last > place[batch_id]}


def _repeats_settled(reviews: Iterable[Review], place: Mapping[str, int]) -> dict[str, int]:
    """Annotator → place of the batch up to which their repeats are settled: the last one in which somebody looked at
    their self-consistency and kept the answers. That flag rests on repeats of many batches, nearly all of which nobody
    reviews for it."""
    found: dict[str, int] = {}
    for r in reviews:
        if r.verdict == "keep" and "self_consistency" in r.kinds and r.batch_id in place:
            found[r.annotator_id] = max(place[r.batch_id], found.get(r.annotator_id, -1))
    return found
