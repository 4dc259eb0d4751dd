"""One label per pair, by majority vote, and a reason for each.

Two annotators who differ: a third is asked. Three different answers: discarded as ambiguous. A second showing of a
pair to the same annotator measures that annotator and does not vote.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from preference.records import LABELS, Pair, Preference, ResolutionReason
from qc_reports.answers import Answered

LOST: frozenset[ResolutionReason] = frozenset({"ambiguous", "skipped", "left_out"})
"""Reasons after which nobody will be asked any more: what the protocol budgets 15 to 20 % for."""
DECIDED: frozenset[ResolutionReason] = frozenset({"unanimous", "majority", "single"})
"""Reasons with a label."""


def resolve(
    pairs: Iterable[Pair],
    answers: Iterable[Answered],
    *,
    waiting: Mapping[str, int] | None = None,
    aside: Mapping[str, ResolutionReason] | None = None,
    held: Collection[str] = (),
) -> list[Preference]:
    """The preference of every pair, in the pairs' order.

    Args:
        answers: Those that count.
        waiting: Pair → assignments that still have no answer; such a pair is `unanswered` until they have. A pair
            without any answer that is not among them was skipped by all who were asked. Default: not known.
        aside: Pair → why there are answers to it that do not count: `needs_review` or `left_out`.
        held: Batches that the gate, or a person, holds: their pairs get no label until they are accepted.
    """
    ballots: dict[str, dict[str, Answered]] = defaultdict(dict)
    for answer in answers:
        if not answer.duplicate:
            ballots[answer.pair_id][answer.annotator_id] = answer
    return [
        _resolve_one(
            pair,
            list(ballots[pair.pair_id].values()),
            _obstacle(pair, bool(ballots[pair.pair_id]), waiting, aside or {}, held),
        )
        for pair in pairs
    ]


def _obstacle(
    pair: Pair,
    voted: bool,
    waiting: Mapping[str, int] | None,
    aside: Mapping[str, ResolutionReason],
    held: Collection[str],
) -> ResolutionReason | None:
    """Why the votes are not even counted."""
    if pair.batch_id in held:
        return "held"
    if (waiting or {}).get(pair.pair_id, 0):
        return "unanswered"
    if voted:
        return None
    return aside.get(pair.pair_id) or ("unanswered" if waiting is None else "skipped")


def _resolve_one(pair: Pair, votes: Sequence[Answered], obstacle: ResolutionReason | None) -> Preference:
    counts = Counter(vote.preference for vote in votes).most_common()
    reason = obstacle or reason_of(counts, len(votes))
    decided = reason in DECIDED
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


def reason_of(counts: Sequence[tuple[object, int]], voters: int) -> ResolutionReason:
    """What so many votes make of a pair.

    Args:
        counts: (answer, votes), the commonest first.
    """
    if voters == 1:
        return "single"
    if len(counts) == 1:
        return "unanimous"
    if counts[0][1] > counts[1][1]:
        return "majority"
    return "needs_third" if voters == 2 else "ambiguous"
