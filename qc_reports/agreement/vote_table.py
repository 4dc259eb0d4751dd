"""Votes as arrays: pair → annotator → answer goes in, one row for each vote comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from preference.records import Answer
from qc_reports.agreement.coefficients import PLACE


@dataclass(frozen=True)
class VoteTable:
    """M votes as arrays."""

    pair_ids: list[str]
    """(P,) in their order."""
    annotators: list[str]
    """(K,) in alphabetical order."""
    pair: np.ndarray
    """(M,) int64, into `pair_ids`."""
    annotator: np.ndarray
    """(M,) int64, into `annotators`."""
    answer: np.ndarray
    """(M,) int64, into `agreement.SCALE`: A, equal, B."""


def table_of(votes: Mapping[str, Mapping[str, Answer]]) -> VoteTable:
    """The votes (`answers.votes`) as arrays, pair by pair."""
    pair_ids = [pair_id for pair_id, ballots in votes.items() if ballots]
    annotators = sorted({name for ballots in votes.values() for name in ballots})
    number = {name: k for k, name in enumerate(annotators)}
    rows = [
        (i, number[name], PLACE[vote]) for i, pair_id in enumerate(pair_ids) for name, vote in votes[pair_id].items()
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return VoteTable(pair_ids, annotators, table[:, 0], table[:, 1], table[:, 2])
