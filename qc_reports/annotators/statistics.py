"""One annotator's batch in figures: each share with the number of answers that it is a share of, and its interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np

from preference.config import Quality
from preference.records import Answer
from qc_reports.agreement.exact_tests import interval_of_mean, interval_of_median, interval_of_share, two_sided
from qc_reports.answers import Answered, by_annotator, planned, votes

PAUSE_S = 600
"""Longer silences between two answers are breaks, not work."""
SHARES = {"gold_agreement": "gold", "self_consistency": "duplicates", "majority_agreement": "majority",
          "peer_agreement": "peers", "too_fast": "timed", "left_share": "sided", "tie_rate": "answers"}  # fmt: skip
"""Each share and the field with its number of answers."""


@dataclass(frozen=True)
class AnnotatorStats:
    """nan where there was nothing to count."""

    annotator_id: str
    answers: int
    gold_agreement: float
    gold: int
    self_consistency: float
    duplicates: int
    majority_agreement: float
    """With the majority of the others, where there are two others or more and they have one."""
    majority: int
    peer_agreement: float
    """With each other annotator of the same pair: with two annotators a pair, this is all there is."""
    peers: int
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
    confidence_counts: list[int]
    """How often each of 1 to 5 was given."""
    confidence_auc: float
    """How often an answer that is right was given with more confidence than one that is wrong: 1 = confidence tells
    them apart, 0.5 = it means nothing. Right is the gold answer's, else the others'."""
    confidence_p: float
    """Two-sided Mann-Whitney test of `confidence_auc` against one half."""
    per_hour: float
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """Share → its exact 95 % interval (Clopper and Pearson); mean and median time → Student's, and by ranks."""


def annotator_stats(answers: Sequence[Answered], quality: Quality) -> list[AnnotatorStats]:
    """The figures of every annotator in `answers`; third opinions count for times and pace alone."""
    ballots = votes(planned(answers))
    return [_stats(name, own, ballots, quality) for name, own in by_annotator(answers).items()]


def _stats(
    name: str, own: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]], quality: Quality
) -> AnnotatorStats:
    everything, own = own, planned(own)
    times = [a.response_time_ms / 1000 for a in everything if a.response_time_ms is not None]
    gold = [a.preference == a.expected for a in own if a.expected is not None and not a.duplicate]
    first = {a.pair_id: a.preference for a in own if not a.duplicate}
    hits = {
        "gold_agreement": gold,
        "self_consistency": [a.preference == first[a.pair_id] for a in own if a.duplicate and a.pair_id in first],
        "majority_agreement": [
            answer == most for pair, answer in first.items() if (most := majority_of_others(ballots[pair], name))
        ],
        "peer_agreement": [
            answer == other for pair, answer in first.items() for who, other in ballots[pair].items() if who != name
        ],
        "too_fast": [time < quality.min_response_s for time in times],
        "left_share": [a.side == "left" for a in own if a.side in ("left", "right")],
        "tie_rate": [a.preference == "equal" for a in own],
    }
    counts = {SHARES[key]: len(found) for key, found in hits.items()}
    sure = [a.confidence for a in own if a.confidence is not None]
    auc, auc_p = _confidence_means(own, ballots)
    return AnnotatorStats(
        annotator_id=name,
        **{key: sum(found) / len(found) if found else math.nan for key, found in hits.items()},
        **counts,
        mean_response_s=float(np.mean(times)) if times else math.nan,
        median_response_s=float(np.median(times)) if times else math.nan,
        side_bias_p=two_sided(sum(hits["left_share"]), len(hits["left_share"])),
        mean_confidence=float(np.mean(sure)) if sure else math.nan,
        confidence_counts=[sure.count(step) for step in range(1, 6)],
        confidence_auc=auc,
        confidence_p=auc_p,
        per_hour=pace_of(a.created_at for a in everything),
        intervals={key: list(interval_of_share(sum(found), len(found))) for key, found in hits.items() if found}
        | (
            {"mean_response_s": list(interval_of_mean(times)), "median_response_s": list(interval_of_median(times))}
            if times
            else {}
        ),
    )


def majority_of_others(ballots: Mapping[str, Answer], name: str) -> Answer | None:
    """What most of the others said; None where they are split, or fewer than two: one person is no majority."""
    counts: Counter[Answer] = Counter(answer for other, answer in ballots.items() if other != name)
    if counts.total() < 2:
        return None
    first = counts.most_common(2)
    return None if len(first) == 2 and first[0][1] == first[1][1] else first[0][0]


def _confidence_means(own: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]) -> tuple[float, float]:
    """`confidence_auc` and its p; nan where all are right, all are wrong, or no confidence is known."""
    from scipy.stats import mannwhitneyu

    groups: dict[bool, list[int]] = {True: [], False: []}
    for a in own:
        if a.confidence is None or a.duplicate:
            continue
        others = [a.expected] if a.expected else [v for who, v in ballots[a.pair_id].items() if who != a.annotator_id]
        if others:
            groups[2 * others.count(a.preference) >= len(others)].append(a.confidence)
    right, wrong = groups[True], groups[False]
    if not right or not wrong:
        return math.nan, math.nan
    if len({*right, *wrong}) == 1:
        return 0.5, 1.0
    test = mannwhitneyu(right, wrong, alternative="two-sided", method="asymptotic")
    return float(test.statistic) / (len(right) * len(wrong)), float(test.pvalue)


def pace_of(stamps: Iterable[str]) -> float:
    """Answers per hour of work, from when each was given (ISO 8601; empty where that is unknown). Breaks are left out;
    nan where the times of day are unknown."""
    moments = sorted(datetime.fromisoformat(stamp.replace("Z", "+00:00")) for stamp in stamps if stamp)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    worked = [gap for gap in gaps if gap < PAUSE_S]
    return 3600 * len(worked) / sum(worked) if sum(worked) > 0 else math.nan
