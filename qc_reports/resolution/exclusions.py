"""What leaving somebody out changes: the labels with all judgments and those without theirs in, a count out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from preference.records import Preference

SHOWN = 50
"""Pairs that are named; all are counted."""
WORDS = {1.0: "A", 0.0: "B", 0.5: "equal"}


@dataclass(frozen=True)
class LeftOut:
    """Whose judgments do not count, and what that changes."""

    pending: list[str] = field(default_factory=list)
    """Annotators who wait for a review."""
    dropped: list[str] = field(default_factory=list)
    """Annotators whom a review left out."""
    judgments: int = 0
    changed: int = 0
    """Pairs with another label than with all judgments."""
    vanished: int = 0
    """Pairs that have no label without these judgments."""
    gained: int = 0
    """Pairs on which the others agree, so that they have a label now."""
    pairs: list[dict[str, Any]] = field(default_factory=list)
    """`pair_id`, `with_all` and `without` (A, B, equal, or the reason why there is no label)."""


def left_out(
    with_all: Sequence[Preference],
    without: Sequence[Preference],
    *,
    pending: Sequence[str],
    dropped: Sequence[str],
    judgments: int,
) -> LeftOut:
    """Compare two resolutions of the same pairs, in the same order."""
    found = {"changed": 0, "vanished": 0, "gained": 0}
    rows = []
    for before, after in zip(with_all, without, strict=True):
        if before.preference == after.preference:
            continue
        kind = "vanished" if after.preference is None else "gained" if before.preference is None else "changed"
        found[kind] += 1
        rows.append({"pair_id": after.pair_id, "with_all": word_of(before), "without": word_of(after)})
    return LeftOut(list(pending), list(dropped), judgments, **found, pairs=rows[:SHOWN])


def word_of(preference: Preference) -> str:
    """A, B or equal; without a label, the reason."""
    return preference.reason if preference.preference is None else WORDS[preference.preference]
