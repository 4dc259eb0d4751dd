"""The protocol's thresholds: one annotator's figures go in, flags come out.

A flag needs a figure beyond its threshold, enough answers, and that chance does not explain it (exact binomial test at
5 %). On gold pairs a careful annotator can be right, so there chance means one who misses half of what is allowed;
repeats and the others' majority suffer from hard pairs too, so there it means one who stands exactly at the threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from preference.config import Quality
from preference.records import Answer
from qc_reports.agreement.exact_tests import at_least, at_most, interval_of_share
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.statistics import AnnotatorStats
from qc_reports.answers import Answered

BY_CHANCE = 0.05
SIDE_BIAS_P = 0.001
"""A side is called preferred below this p-value of a two-sided binomial test."""
ONE_ANSWER = 0.9
"""One answer in so many of all is no comparing, when the others see it differently on the same pairs."""


def threshold_flags(s: AnnotatorStats, quality: Quality) -> list[Flag]:
    """What one annotator's figures say."""
    found = [_gold(s, quality), _speed(s, quality), *_agreements(s, quality), _side(s, quality)]
    return [flag for flag in found if flag]


def _gold(s: AnnotatorStats, quality: Quality) -> Flag | None:
    if s.gold < quality.min_answers:
        return None
    limit, missed = quality.max_gold_disagreement, round((1 - s.gold_agreement) * s.gold)
    if missed <= limit * s.gold or at_least(missed, s.gold, limit / 2) >= BY_CHANCE:
        return None
    low, high = interval_of_share(missed, s.gold)
    sentence = f"{s.annotator_id} disagrees with {missed / s.gold:.0%} of {s.gold} gold pairs."
    return Flag(s.annotator_id, "gold", missed / s.gold, limit, s.gold, sentence, low, high, quality.min_answers)


def _speed(s: AnnotatorStats, quality: Quality) -> Flag | None:
    """By the mean, and by the median as well: one coffee break hides a hundred clicks from a mean."""
    limit = quality.min_response_s
    if s.timed < quality.min_answers or min(s.mean_response_s, s.median_response_s) >= limit:
        return None
    by_mean = s.mean_response_s < limit
    value, word = (s.mean_response_s, "on average") if by_mean else (s.median_response_s, "mostly")
    interval = s.intervals["mean_response_s" if by_mean else "median_response_s"]
    sentence = f"{s.annotator_id} answers in {value:.1f} s {word}, {s.too_fast:.0%} in less than {limit:g} s."
    return Flag(s.annotator_id, "speed", value, limit, s.timed, sentence, *interval, minimum=quality.min_answers)


def _agreements(s: AnnotatorStats, quality: Quality) -> list[Flag | None]:
    return [
        _too_low(
            s, "self_consistency", quality.min_self_consistency, quality,
            "{name} repeats the answer on {value:.0%} of {n} repeated pairs.",
        ),
        _too_low(
            s, "majority", quality.min_majority_agreement, quality,
            "{name} agrees with the others' majority on {value:.0%} of {n} pairs.",
        ),
    ]  # fmt: skip


def _too_low(s: AnnotatorStats, kind: str, limit: float, quality: Quality, sentence: str) -> Flag | None:
    repeats = kind == "self_consistency"
    share, n = (s.self_consistency, s.duplicates) if repeats else (s.majority_agreement, s.majority)
    if n < quality.min_answers:
        return None
    hits = round(share * n)
    if hits >= limit * n or at_most(hits, n, limit) >= BY_CHANCE:
        return None
    words = sentence.format(name=s.annotator_id, value=share, n=n)
    low, high = interval_of_share(hits, n)
    word = "self_consistency" if repeats else "majority"
    return Flag(s.annotator_id, word, share, limit, n, words, low, high, quality.min_answers)


def _side(s: AnnotatorStats, quality: Quality) -> Flag | None:
    if s.sided < quality.min_answers or s.side_bias_p >= SIDE_BIAS_P:
        return None
    side, share = ("left", s.left_share) if s.left_share > 0.5 else ("right", 1 - s.left_share)
    sentence = f"{s.annotator_id} chose the {side} side in {share:.0%} of {s.sided} answers."
    interval = interval_of_share(round(share * s.sided), s.sided)
    return Flag(s.annotator_id, "side_bias", share, 0.5, s.sided, sentence, *interval, quality.min_answers)


def one_answer(name: str, own: Sequence[Answered], others: Sequence[Answer], quality: Quality) -> Flag | None:
    """Always the same answer, where the others do not give it on the same pairs.

    Args:
        others: Every other annotator's answers to the pairs of `own`; without any, the gold answers.
    """
    words: Counter[Answer] = Counter(answer.preference for answer in own)
    word, count = words.most_common(1)[0]
    reference = list(others) or [answer.expected for answer in own if answer.expected]
    if count < max(quality.min_answers, ONE_ANSWER * len(own)) or not reference:
        return None
    usual = (reference.count(word) + 1) / (len(reference) + 2)
    if at_least(count, len(own), usual) >= SIDE_BIAS_P or usual > ONE_ANSWER - 0.1:
        return None
    sentence = f"{name} answered {word} in {count} of {len(own)} cases; on the same pairs others did in {usual:.0%}."
    return Flag(name, "one_answer", count / len(own), ONE_ANSWER, len(own), sentence,
                *interval_of_share(count, len(own)), quality.min_answers)  # fmt: skip
