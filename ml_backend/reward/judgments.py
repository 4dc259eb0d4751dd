"""Single judgments as arrays, for training that learns how reliable each annotator is (Crowd-BT, Chen et al. 2013).

Answers come in beside the labelled pairs; their places among these go out. Pairs without a label of their own (open,
or discarded as ambiguous) are left aside, so that both ways of training see the same pairs and the same split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from preference.records import LABELS
from qc_reports.answers import Answered

UNSAID = 3.0
"""Confidence of an answer that came without: the middle of 1 to 5."""


@dataclass(frozen=True)
class Judgments:
    """M answers, in the order of their pairs."""

    annotators: tuple[str, ...]
    start: np.ndarray
    """(N + 1,) int64: the answers to pair i are start[i] to start[i + 1]."""
    annotator: np.ndarray
    """(M,) int64, into `annotators`."""
    label: np.ndarray
    """(M,) float64: 1.0 (A), 0.0 (B), 0.5 (tie)."""
    weight: np.ndarray
    """(M,) float64, mean 1, proportional to the answer's own confidence."""

    def of(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the answers to `pairs`, and for each its place in `pairs`."""
        first, counts = self.start[pairs], np.diff(self.start)[pairs]
        place = np.repeat(np.arange(len(pairs)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return first[place] + within, place


def index_judgments(pair_ids: Sequence[str], answers: Iterable[Answered]) -> Judgments:
    """The answers to `pair_ids`; an annotator's second showing of a pair does not count."""
    position = {pair_id: i for i, pair_id in enumerate(pair_ids)}
    used = [answer for answer in answers if answer.pair_id in position and not answer.duplicate]
    used.sort(key=lambda answer: (position[answer.pair_id], answer.annotator_id))
    annotators = tuple(sorted({answer.annotator_id for answer in used}))
    number = {name: i for i, name in enumerate(annotators)}
    pairs = np.array([position[answer.pair_id] for answer in used], dtype=np.int64)
    confidence = np.array([UNSAID if a.confidence is None else a.confidence for a in used], dtype=np.float64)
    return Judgments(
        annotators,
        np.searchsorted(pairs, np.arange(len(pair_ids) + 1)).astype(np.int64),
        np.array([number[answer.annotator_id] for answer in used], dtype=np.int64),
        np.array([LABELS[answer.preference] for answer in used], dtype=np.float64),
        confidence / confidence.mean() if len(used) else confidence,
    )
