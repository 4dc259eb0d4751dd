"""One label per pair, by majority vote, and a reason for each.

Two annotators who differ: a third is asked. Three different answers: discarded as ambiguous. A second showing of a
pair to the same annotator measures that annotator and does not vote.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from preference.records import LABELS, Pair, Preference, ResolutionReason
from qc_reports.answers import Answered


def resolve(
    pairs: Iterable[Pair],
    answers: Iterable[Answered],
    *,
    waiting: Mapping[str, int] | None = None,
    excluded: frozenset[str] = frozenset(),
) -> list[Preference]:
    """The preference of every pair, in the pairs' order.

    Args:
        waiting: Pair → assignments that still have no answer; such a pair is `unanswered` until they have.
        excluded: Annotators whose answers are left out, until they are reviewed.
    """
    ballots: dict[str, dict[str, Answered]] = defaultdict(dict)
    for answer in answers:
        if not answer.duplicate and answer.annotator_id not in excluded:
            ballots[answer.pair_id][answer.annotator_id] = answer
    return [
        _resolve_one(pair, list(ballots[pair.pair_id].values()), (waiting or {}).get(pair.pair_id, 0)) for pair in pairs
    ]


def _resolve_one(pair: Pair, votes: Sequence[Answered], waiting: int) -> Preference:
    counts = Counter(vote.preference for vote in votes).most_common()
    reason = _reason(counts, len(votes), waiting)
    decided = reason in ("unanimous", "majority", "single")
    confidences = [vote.confidence for vote in votes if vote.confidence is not None]
    return Preference(
        pair_id=pair.pair_id,
        trajectory_a_id=pair.trajectory_a_id,
        trajectory_b_id=pair.trajectory_b_id,
        preference=LABELS[counts[0][0]] if decided else None,
        confidence_mean=sum(confidences) / len(confidences) if confidences else math.nan,
        num_annotators=len(votes),
        agreement=counts[0][1] / len(votes) if votes else math.nan,
        annotator_ids=sorted(vote.annotator_id for vote in votes),
        reason=reason,
    )


def _reason(counts: Sequence[tuple[str, int]], voters: int, waiting: int) -> ResolutionReason:
    if waiting or not voters:
        return "unanswered"
    if voters == 1:
        return "single"
    if len(counts) == 1:
        return "unanimous"
    if counts[0][1] > counts[1][1]:
        return "majority"
    return "needs_third" if voters == 2 else "ambiguous"
