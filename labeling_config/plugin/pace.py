"""Pairs per hour of work, from the times of the latest answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

BREAK_S = 300.0
"""A longer gap between two answers is a break, not work."""
FEWEST_GAPS = 3


def pace_of(latest_first: Sequence[datetime]) -> float | None:
    """Answers per hour without breaks; None if there are too few to tell."""
    passed = [(later - earlier).total_seconds() for later, earlier in pairwise(latest_first)]
    gaps = [seconds for seconds in passed if 0 < seconds <= BREAK_S]
    return 3600.0 * len(gaps) / sum(gaps) if len(gaps) >= FEWEST_GAPS else None
