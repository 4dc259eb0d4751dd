"""Pass or hold: may the next batch be opened?

A stratified batch is held when its answers do not agree enough: when alpha's whole interval is under the threshold, so
that a batch of typical people is not held by chance (`quality.flags = "protocol"` looks at alpha alone). Any batch is
held when somebody is flagged and not reviewed yet: the protocol has flagged work reviewed before it becomes part of the
dataset. An active batch's alpha is only reported: a rule chose its pairs because they are hard, and good people differ
on them. A person's own decision, by `robopref batch accept` or `hold`, stands above the gate until the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from preference.config import Quality
from preference.formats import interval
from preference.records import BatchStatus
from qc_reports.agreement.coefficients import NOTHING, Interval
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.reviews import ReviewStatus, sentences

VERBS = {"accepted": "Accepted", "held": "Held"}


def gate(
    asked: Mapping[str, Interval],
    flags: Sequence[Flag],
    quality: Quality,
    *,
    waiting: int,
    where: ReviewStatus,
    reported: Interval = NOTHING,
) -> tuple[BatchStatus, list[str]]:
    """The batch's status and the reasons for it, as sentences.

    Args:
        asked: Alphas that have to reach `quality.min_alpha`, by the words for what they are of, such as ` of all pairs`
            or nothing; of the judgments that count once all reviews are done.
        waiting: Assignments of the batch without an answer.
        where: Who is flagged and not reviewed, and what reviews said of the others.
        reported: Alpha of pairs that a rule chose, which holds nothing.
    """
    if waiting:
        return "open", [f"{waiting} answers are still missing."]
    known = {words: alpha for words, alpha in asked.items() if not math.isnan(alpha.value)}
    low = {words: alpha for words, alpha in known.items() if alpha.value < quality.min_alpha}
    sure = {words: alpha for words, alpha in low.items() if quality.flags == "protocol" or _surely_low(alpha, quality)}
    reasons = [f"{_sentence(words, alpha)}, below {quality.min_alpha:.2f}." for words, alpha in sure.items()]
    reasons += [flag.sentence for flag in flags if flag.annotator_id in where.pending]
    if reasons:
        return "held", [*reasons, *sentences(where)]
    by_chance = f", below {quality.min_alpha:.2f}, which may be chance"
    passed = [f"{_sentence(words, alpha)}{by_chance if words in low else ''}." for words, alpha in known.items()]
    if not math.isnan(reported.value):
        passed.append(f"{_sentence('', reported)}; it does not hold pairs that a rule chose.")
    return "accepted", [*passed, *(sentences(where) or ["No annotator needs a review."])]


def _surely_low(alpha: Interval, quality: Quality) -> bool:
    """Even the upper end of its interval; nan, where no interval was asked for, leaves alpha itself."""
    return not alpha.high >= quality.min_alpha


def _sentence(words: str, alpha: Interval) -> str:
    return f"Krippendorff's alpha{words} is {interval(alpha.value, alpha.low, alpha.high)}"


def by_hand(decision: Mapping[str, str]) -> str:
    """A person's decision about a batch, as a sentence."""
    when = f" on {decision['at'][:10]}" if decision["at"] else ""
    return f"{VERBS[decision['status']]} by {decision['by']}{when}: {decision['why']}"
