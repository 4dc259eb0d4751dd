"""Which of many tests accuse somebody: tested flags go in, those that stand come out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from qc_reports.agreement.exact_tests import false_discoveries
from qc_reports.annotators.flag import Flag

FALSE_SHARE = 0.05
"""Of the flags that are raised, so many at most are expected to be false."""


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
