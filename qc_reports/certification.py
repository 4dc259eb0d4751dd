"""Who may annotate: Cohen's kappa of one annotator with the expert over a calibration set, and what went wrong.

The threshold is the protocol's 0.65.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from preference.records import Answer, Certification
from qc_reports.agreement import cohen_kappa_interval
from qc_reports.answers import Answered

WEAK_DIMENSION = 0.25
"""A dimension is named when so much more of it was missed than of the whole set."""
ONE_SIDED = 0.75
"""A side is named when so many of the answers that took one took the same."""
MIN_ANSWERS = 8
"""No pattern is read into fewer answers."""


def certify(
    answers: Sequence[Answered],
    truth: Mapping[str, Answer],
    *,
    threshold: float,
    attempt: int,
    batch_id: str,
    draws: int,
    rng: np.random.Generator,
) -> Certification:
    """One annotator's attempt at one calibration set.

    Args:
        answers: This annotator's, at least one of them on a pair of `truth`.
        truth: Pair → the expert's answer.
    """
    judged = [answer for answer in answers if answer.pair_id in truth and not answer.duplicate]
    given: list[Answer] = [answer.preference for answer in judged]
    right: list[Answer] = [truth[answer.pair_id] for answer in judged]
    kappa = cohen_kappa_interval(given, right, draws=draws, rng=rng)
    return Certification(
        annotator_id=answers[0].annotator_id,
        batch_id=batch_id,
        attempt=attempt,
        kappa=kappa.value,
        kappa_low=kappa.low,
        kappa_high=kappa.high,
        certified=kappa.value >= threshold,
        pairs=len(judged),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        findings=findings(judged, truth),
    )


def findings(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    """Error patterns, as sentences for the second training session; empty when there is none to speak of."""
    if len(judged) < MIN_ANSWERS:
        return []
    return [*_sides(judged), *_ties(judged, truth), *_dimensions(judged, truth)]


def _sides(judged: Sequence[Answered]) -> list[str]:
    sides = Counter(answer.side for answer in judged if answer.side in ("left", "right"))
    taken = sum(sides.values())
    if taken < MIN_ANSWERS:
        return []
    side, count = sides.most_common(1)[0]
    return [f"Chose the {side} side in {count} of {taken} answers."] if count / taken >= ONE_SIDED else []


def _ties(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    ties = sum(answer.preference == "equal" for answer in judged)
    meant = sum(truth[answer.pair_id] == "equal" for answer in judged)
    if not ties and meant >= 3:
        return [f"Never answered equal; the expert did {meant} times."]
    if ties >= 3 * max(meant, 1) and ties >= MIN_ANSWERS:
        return [f"Answered equal {ties} times; the expert did {meant} times."]
    return []


def _dimensions(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    missed: dict[str, list[bool]] = defaultdict(list)
    for answer in judged:
        missed[answer.dimension].append(answer.preference != truth[answer.pair_id])
    overall = sum(map(sum, missed.values())) / len(judged)
    return [
        f"Missed {sum(wrong)} of {len(wrong)} pairs about {dimension}."
        for dimension, wrong in sorted(missed.items())
        if dimension and len(wrong) >= 4 and sum(wrong) / len(wrong) >= overall + WEAK_DIMENSION
    ]
