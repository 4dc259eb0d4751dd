"""Pass or hold: may the next batch be opened?

A batch is held when its answers do not agree enough (alpha under the threshold), or when somebody is flagged and not
reviewed yet: the protocol has flagged work reviewed before it becomes part of the dataset. A person's own decision,
by `robopref batch accept` or `hold`, stands above the gate until the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from preference.config import Quality
from preference.records import BatchStatus
from qc_reports.agreement.coefficients import Interval
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.reviews import ReviewStatus, sentences

VERBS = {"accepted": "Accepted", "held": "Held"}


def gate(
    alpha: Interval, flags: Sequence[Flag], quality: Quality, *, waiting: int, where: ReviewStatus
) -> tuple[BatchStatus, list[str]]:
    """The batch's status and the reasons for it, as sentences.

    Args:
        alpha: Of the judgments that count once all reviews are done.
        waiting: Assignments of the batch without an answer.
        where: Who is flagged and not reviewed, and what reviews said of the others.
    """
    if waiting:
        return "open", [f"{waiting} answers are still missing."]
    reasons = []
    if not math.isnan(alpha.value) and alpha.value < quality.min_alpha:
        reasons.append(f"Krippendorff's alpha is {alpha.value:.2f}, below {quality.min_alpha:.2f}.")
    reasons += [flag.sentence for flag in flags if flag.annotator_id in where.pending]
    if reasons:
        return "held", [*reasons, *sentences(where)]
    passed = [] if math.isnan(alpha.value) else [f"Krippendorff's alpha is {alpha.value:.2f}."]
    return "accepted", [*passed, *(sentences(where) or ["No annotator needs a review."])]


def by_hand(decision: Mapping[str, str]) -> str:
    """A person's decision about a batch, as a sentence."""
    when = f" on {decision['at'][:10]}" if decision["at"] else ""
    return f"{VERBS[decision['status']]} by {decision['by']}{when}: {decision['why']}"
