"""Pass or hold: may the next batch be opened?

A batch is held when its answers do not agree enough (alpha under the threshold), or when somebody's work must be
reviewed first. Flags for self-consistency and majority are shown, and hold only with another flag of the same person:
alone, either may mean hard pairs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from preference.config import Quality
from preference.records import BatchStatus
from qc_reports.agreement import Interval
from qc_reports.flag import Flag

SERIOUS = frozenset({"gold", "speed", "side_bias", "one_answer", "guessing", "swapped", "turned", "copy"})
BY_HAND = "Accepted by hand."
"""The reason that overrules the gate, recorded with the batch."""


def gate(alpha: Interval, flags: Sequence[Flag], quality: Quality, *, waiting: int) -> tuple[BatchStatus, list[str]]:
    """The batch's status and the reasons for it, as sentences.

    Args:
        waiting: Assignments of the batch without an answer.
    """
    if waiting:
        return "open", [f"{waiting} answers are still missing."]
    reasons = []
    if not math.isnan(alpha.value) and alpha.value < quality.min_alpha:
        reasons.append(f"Krippendorff's alpha is {alpha.value:.2f}, below {quality.min_alpha:.2f}.")
    by_person: dict[str, list[Flag]] = defaultdict(list)
    for flag in flags:
        by_person[flag.annotator_id].append(flag)
    for own in by_person.values():
        if len(own) > 1 or own[0].kind in SERIOUS:
            reasons += [flag.sentence for flag in own]
    if reasons:
        return "held", reasons
    passed = [] if math.isnan(alpha.value) else [f"Krippendorff's alpha is {alpha.value:.2f}."]
    watched = [f"To watch: {flag.sentence}" for flag in flags]
    return "accepted", [*passed, *(watched or ["No annotator needs a review."])]
