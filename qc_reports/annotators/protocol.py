"""The protocol's plain thresholds: what it asks, what was seen, and how often chance alone would show it.

They stand beside the flags always, and are the flags where `quality.flags = "protocol"`: a share below its limit, from
`min_answers` answers on, however small the difference and however hard the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from preference.config import Quality
from preference.formats import known
from qc_reports.agreement.exact_tests import at_most, interval_of_share
from qc_reports.annotators.flag import Flag, Kind
from qc_reports.annotators.own_answers import REPEATS
from qc_reports.annotators.statistics import AnnotatorStats


@dataclass(frozen=True)
class Threshold:
    """One annotator beside one limit."""

    annotator_id: str
    kind: Kind
    asked: float
    """A share of answers, at least; for `speed` seconds, at least."""
    seen: float
    n: int
    crossed: bool
    chance: float
    """How often somebody who stands exactly at the limit would be seen this low, or lower; nan for `speed`."""
    sentence: str


def thresholds(stats: Sequence[AnnotatorStats], quality: Quality) -> list[Threshold]:
    """Everybody beside every limit that there is an answer for."""
    return [row for s in stats for row in _of_one(s, quality)]


def protocol_flags(rows: Sequence[Threshold], stats: Sequence[AnnotatorStats], quality: Quality) -> list[Flag]:
    """The thresholds that are crossed, as flags."""
    by_name = {s.annotator_id: s for s in stats}
    return [
        _flag(row, by_name[row.annotator_id], quality)
        for row in rows
        if row.crossed and row.n >= _least(row.kind, quality)
    ]


def _of_one(s: AnnotatorStats, quality: Quality) -> Iterator[Threshold]:
    shares: list[tuple[Kind, str, float, float, int]] = [
        ("gold", "of gold pairs right", 1 - quality.max_gold_disagreement, s.gold_agreement, s.gold),
        ("self_consistency", "of repeats alike", quality.min_self_consistency, s.self_consistency, s.duplicates),
        ("majority", "with the others' majority", quality.min_majority_agreement, s.majority_agreement, s.majority),
    ]  # fmt: skip
    for kind, words, limit, share, n in shares:
        if n:
            crossed = round(share * n) < limit * n - 1e-9
            chance = at_most(round(share * n), n, limit)
            luck = f"; chance alone would do that in {_one_of(chance)}" if crossed else ""
            sentence = f"{limit:.0%} {words} asked, {share:.0%} seen of {n}{luck}."
            yield Threshold(s.annotator_id, kind, limit, share, n, crossed, chance, sentence)
    if s.timed and known(s.mean_response_s):
        limit, value = quality.min_response_s, min(s.mean_response_s, s.median_response_s)
        which = "mean" if s.mean_response_s <= s.median_response_s else "median"
        sentence = f"{limit:g} s asked, a {which} of {value:.1f} s seen in {s.timed} answers."
        yield Threshold(s.annotator_id, "speed", limit, value, s.timed, value < limit, math.nan, sentence)


def _one_of(chance: float) -> str:
    """`1 of 6`; below one in a thousand no more than that."""
    return f"1 of {round(1 / chance)}" if chance > 0.001 else "fewer than 1 of 1,000"


def _least(kind: Kind, quality: Quality) -> int:
    return min(REPEATS, quality.min_answers) if kind == "self_consistency" else quality.min_answers


def _flag(row: Threshold, s: AnnotatorStats, quality: Quality) -> Flag:
    value, limit = (1 - row.seen, 1 - row.asked) if row.kind == "gold" else (row.seen, row.asked)
    interval = (math.nan, math.nan) if row.kind == "speed" else interval_of_share(round(value * row.n), row.n)
    sentence = f"{s.annotator_id}: {row.sentence}"
    return Flag(s.annotator_id, row.kind, value, limit, row.n, sentence, *interval, minimum=_least(row.kind, quality),
                expected=limit, p=row.chance)  # fmt: skip
