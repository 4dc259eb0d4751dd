"""One annotator's batch in figures, and the flags they raise, with the protocol's thresholds and minimum samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from preference.config import Quality
from preference.records import Answer
from qc_reports.answers import Answered, by_annotator, votes

SIDE_BIAS_P = 0.001
"""A side is called preferred below this p-value of a two-sided binomial test."""
PAUSE_S = 600
"""Longer silences between two answers are breaks, not work."""


@dataclass(frozen=True)
class AnnotatorStats:
    """nan where there was nothing to count; each share comes with the number of answers that it is a share of."""

    annotator_id: str
    answers: int
    gold_agreement: float
    gold: int
    self_consistency: float
    duplicates: int
    majority_agreement: float
    """With the majority of the others, where they have one."""
    majority: int
    mean_response_s: float
    median_response_s: float
    too_fast: float
    """Share of answers under the time in which a clip can be watched."""
    timed: int
    left_share: float
    """Of the answers that took a side, how many took the left."""
    sided: int
    side_bias_p: float
    """Two-sided binomial test of `left_share` against one half."""
    tie_rate: float
    mean_confidence: float
    per_hour: float


@dataclass(frozen=True)
class Flag:
    """Something to review about one annotator."""

    annotator_id: str
    kind: str
    """`gold`, `speed`, `self_consistency`, `majority` or `side_bias`."""
    value: float
    threshold: float
    n: int
    """Answers that it rests on."""
    sentence: str


def annotator_stats(answers: Sequence[Answered], quality: Quality) -> list[AnnotatorStats]:
    """The figures of every annotator in `answers`."""
    ballots = votes(answers)
    return [_stats(name, own, ballots, quality) for name, own in by_annotator(answers).items()]


def _stats(
    name: str, own: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]], quality: Quality
) -> AnnotatorStats:
    gold = [a.preference == a.expected for a in own if a.expected is not None and not a.duplicate]
    first = {a.pair_id: a.preference for a in own if not a.duplicate}
    repeated = [a.preference == first[a.pair_id] for a in own if a.duplicate and a.pair_id in first]
    majority = [answer == most for pair, answer in first.items() if (most := _majority_of_others(ballots[pair], name))]
    times = [a.response_time_ms / 1000 for a in own if a.response_time_ms is not None]
    sides = [a.side == "left" for a in own if a.side in ("left", "right")]
    confidences = [a.confidence for a in own if a.confidence is not None]
    return AnnotatorStats(
        annotator_id=name,
        answers=len(own),
        gold_agreement=_share(gold),
        gold=len(gold),
        self_consistency=_share(repeated),
        duplicates=len(repeated),
        majority_agreement=_share(majority),
        majority=len(majority),
        mean_response_s=float(np.mean(times)) if times else math.nan,
        median_response_s=float(np.median(times)) if times else math.nan,
        too_fast=_share([seconds < quality.min_response_s for seconds in times]),
        timed=len(times),
        left_share=_share(sides),
        sided=len(sides),
        side_bias_p=_binomial_p(sum(sides), len(sides)),
        tie_rate=_share([a.preference == "equal" for a in own]),
        mean_confidence=float(np.mean(confidences)) if confidences else math.nan,
        per_hour=_pace(own),
    )


def flags(stats: Sequence[AnnotatorStats], quality: Quality) -> list[Flag]:
    """Whoever falls below a threshold, with the numbers; nobody from fewer than `quality.min_answers` answers."""
    found: list[Flag] = []
    for s in stats:
        checks = [
            ("gold", 1 - s.gold_agreement, quality.max_gold_disagreement, s.gold, 1,
             f"{s.annotator_id} disagrees with {1 - s.gold_agreement:.0%} of {s.gold} gold pairs."),
            ("speed", s.mean_response_s, quality.min_response_s, s.timed, -1,
             f"{s.annotator_id} answers in {s.mean_response_s:.1f} s on average, {s.too_fast:.0%} in less than "
             f"{quality.min_response_s:g} s."),
            ("self_consistency", s.self_consistency, quality.min_self_consistency, s.duplicates, -1,
             f"{s.annotator_id} repeats the answer on {s.self_consistency:.0%} of {s.duplicates} repeated pairs."),
            ("majority", s.majority_agreement, quality.min_majority_agreement, s.majority, -1,
             f"{s.annotator_id} agrees with the others' majority on {s.majority_agreement:.0%} of {s.majority} pairs."),
            ("side_bias", s.side_bias_p, SIDE_BIAS_P, s.sided, -1,
             f"{s.annotator_id} chose the left side in {s.left_share:.0%} of {s.sided} answers."),
        ]  # fmt: skip
        found += [
            Flag(s.annotator_id, kind, value, threshold, n, sentence)
            for kind, value, threshold, n, direction, sentence in checks
            if n >= quality.min_answers and direction * (value - threshold) > 0
        ]
    return found


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else math.nan


def _majority_of_others(ballots: Mapping[str, Answer], name: str) -> Answer | None:
    """What most of the others said; None where they are split or there are none."""
    counts: Counter[Answer] = Counter(answer for other, answer in ballots.items() if other != name)
    first = counts.most_common(2)
    if not first or (len(first) == 2 and first[0][1] == first[1][1]):
        return None
    return first[0][0]


def _binomial_p(hits: int, n: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(hits, n).pvalue) if n else math.nan


def _pace(own: Sequence[Answered]) -> float:
    """Answers per hour of work; breaks are left out. nan where the times of day are unknown."""
    moments = sorted(datetime.fromisoformat(a.created_at.replace("Z", "+00:00")) for a in own if a.created_at)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    worked = [gap for gap in gaps if gap < PAUSE_S]
    return 3600 * len(worked) / sum(worked) if sum(worked) > 0 else math.nan
