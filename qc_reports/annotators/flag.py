"""Something to review about one annotator: what was seen, how sure it is, and from how many answers.

`standing` says which of many tests accuse somebody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qc_reports.agreement.exact_tests import false_discoveries

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


FALSE_SHARE = 0.05
"""Of the flags that are raised, so many at most are expected to be false."""


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


class Tested(NamedTuple):
    flag: Flag
    matters: bool
    """Whether what was seen is large enough to matter, however sure it is."""


def standing(tests: Iterable[Tested]) -> list[Flag]:
    """The flags that matter and that chance does not explain, over all people and kinds together (Benjamini and
    Hochberg): with everybody alike somebody is accused in one batch of twenty, however many people and tests there are.
    """
    tests = list(tests)
    limit = false_discoveries([test.flag.p for test in tests], FALSE_SHARE)
    return [test.flag for test in tests if test.matters and test.flag.p <= limit]
