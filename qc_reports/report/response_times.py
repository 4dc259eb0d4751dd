"""How long each annotator takes: a histogram on a logarithmic axis. Answers go in, bars in [0, 1] come out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc_reports.answers import Answered, by_annotator

SHORTEST_S, LONGEST_S = 0.5, 240.0
"""The axis: what lies outside is counted in the outermost bars."""
BARS = 36


@dataclass(frozen=True)
class Bar:
    """One bar: where it begins along the axis and its height, both in [0, 1]."""

    at: float
    height: float


@dataclass(frozen=True)
class Times:
    """One annotator's histogram. Places along the axis are in [0, 1]."""

    annotator_id: str
    bars: list[Bar]
    """At most BARS, without the empty ones; heights are relative to this annotator's highest."""
    counts: list[int]
    """Answers in each of the BARS spans between `ResponseTimes.edges_s`."""
    answers: int
    median_s: float
    median_at: float
    too_fast: int
    """Answers under the limit."""


@dataclass(frozen=True)
class ResponseTimes:
    people: list[Times]
    width: float
    """Of a bar."""
    limit_at: float
    ticks: list[tuple[float, str]]
    """(place, label)."""
    edges_s: list[float]
    """(BARS + 1) seconds between which the bars lie."""


def response_times(answers: Sequence[Answered], limit_s: float) -> ResponseTimes:
    """A histogram for everybody whose response times are known."""
    people = []
    for name, own in by_annotator(answers).items():
        seconds = np.array([a.response_time_ms / 1000 for a in own if a.response_time_ms is not None])
        if len(seconds):
            people.append(_times(name, seconds, limit_s))
    ticks = [(place(float(s)), f"{s} s" if s < 60 else f"{s // 60} min") for s in (1, 3, 10, 30, 120)]
    edges = np.geomspace(SHORTEST_S, LONGEST_S, BARS + 1).tolist()
    return ResponseTimes(people, 1 / BARS, place(limit_s), ticks, edges)


def place(seconds: float) -> float:
    """Where a time lies on the axis, in [0, 1]."""
    inside = min(max(seconds, SHORTEST_S), LONGEST_S)
    return math.log(inside / SHORTEST_S) / math.log(LONGEST_S / SHORTEST_S)


def _times(name: str, seconds: np.ndarray, limit_s: float) -> Times:
    counts, _ = np.histogram([place(float(s)) for s in seconds], bins=BARS, range=(0.0, 1.0))
    median = float(np.median(seconds))
    return Times(
        annotator_id=name,
        bars=[Bar(i / BARS, float(count / counts.max())) for i, count in enumerate(counts) if count],
        counts=counts.tolist(),
        answers=len(seconds),
        median_s=median,
        median_at=place(median),
        too_fast=int((seconds < limit_s).sum()),
    )
