"""Annotator cards: rows of annotator_stats go in, figures as places on an axis beside their thresholds come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preference.config import Quality
from preference.formats import known, seconds, share
from qc_reports.report.response_times import place

SHOWN = 12
"""Cards; the table has everybody."""


@dataclass(frozen=True)
class Gauge:
    """One figure. Places are in [0, 1] along the axis."""

    words: str
    printed: str
    n: int
    at: float
    low: float | None
    high: float | None
    """Of the 95 % interval, where there is one."""
    limit: float | None
    limit_printed: str
    beyond: bool
    """A flag says so; a figure can lie beyond its threshold by chance."""


@dataclass(frozen=True)
class Card:
    annotator_id: str
    answers: int
    flags: list[dict[str, Any]]
    gauges: list[Gauge]


def cards(people: Sequence[Mapping[str, Any]], quality: Quality) -> list[Card]:
    """The first SHOWN, in the order of `people`."""
    return [
        Card(row["annotator_id"], row["answers"], row["flags"], _gauges(row, quality))
        for row in people[:SHOWN]
    ]  # fmt: skip


def _gauges(row: Mapping[str, Any], quality: Quality) -> list[Gauge]:
    shares: list[tuple[str, str, str, float | None, set[str]]] = [
        ("gold_agreement", "gold", "Right on gold", 1 - quality.max_gold_disagreement, {"gold", "guessing", "swapped"}),
        ("self_consistency", "duplicates", "Repeats itself", quality.min_self_consistency, {"self_consistency"}),
        ("majority_agreement", "majority", "With the majority", quality.min_majority_agreement, {"majority"})
        if known(row["majority_agreement"])
        else ("peer_agreement", "peers", "With the others", None, set()),
        ("left_share", "sided", "Left side", 0.5, {"side_bias"}),
    ]
    kinds = {flag["kind"] for flag in row["flags"]}
    found = [
        _share(row, key, count, words, limit, blamed, kinds)
        for key, count, words, limit, blamed in shares
        if known(row[key])
    ]
    if known(row["median_response_s"]):
        limit = quality.min_response_s
        middle = row["median_response_s"]
        found.append(Gauge("Median time", seconds(middle), row["timed"], place(middle), None, None, place(limit),
                           f"{limit:g} s", "speed" in kinds))  # fmt: skip
    return found


def _share(
    row: Mapping[str, Any], key: str, count: str, words: str, limit: float | None, blamed: set[str], kinds: set[str]
) -> Gauge:
    low, high = row["intervals"].get(key, (None, None))
    printed = share(limit) if limit is not None else ""
    return Gauge(words, share(row[key]), row[count], row[key], low, high, limit, printed, bool(blamed & kinds))
