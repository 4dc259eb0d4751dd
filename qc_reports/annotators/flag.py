"""Something to review about one annotator: what was seen, how sure it is, and from how many answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "gold",
    "speed",
    "self_consistency",
    "majority",
    "side_bias",
    "one_answer",
    "guessing",
    "swapped",
    "turned",
    "copy",
    "clock",
]


@dataclass(frozen=True)
class Flag:
    """One flag; `low` and `high` are the 95 % interval of `value`."""

    annotator_id: str
    kind: Kind
    value: float
    threshold: float
    n: int
    """Answers that it rests on; each of the annotator's counts once, however many others answered the pair."""
    sentence: str
    low: float = math.nan
    high: float = math.nan
    minimum: int = 0
    """Fewest answers from which this kind of flag is raised."""
    other: str = ""
    """For `copy`: whose answers these are too."""
    since: str = ""
    """For `turned`: the pair with which the worse part begins."""
    expected: float = math.nan
    """What `value` would be of somebody like most people, on the same pairs; or the protocol's limit."""
    p: float = math.nan
    """How often chance alone would show as much; an upper bound."""

    @property
    def effect(self) -> float:
        """How far `value` is from `expected`, in the unit of both."""
        return self.value - self.expected
