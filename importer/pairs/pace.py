"""Who is at work, who is idle, and whose queue runs low: so that nobody waits while others have many pairs open.

Counts and times out of the database go in; names and numbers come out. Nothing is written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from importer.pairs.annotators import certified_ids
from preference.workspace import Workspace

LOW = 4
"""Open pairs at which a queue runs low. The fastest people take half a minute a pair, and a round is planned in two."""
KEEP = 2
"""Open pairs that everybody has, at work or not: the one on the screen, and the next, which is loaded. Whoever comes
back finds something to begin with."""
AT_WORK = timedelta(minutes=30)
"""Whoever answered within it is at work."""
LATEST = 200
"""The pace is that of so many latest answers of all together."""


@dataclass(frozen=True)
class Loads:
    """What certified people have to answer, and how the answers come in."""

    open: dict[str, int]
    """Annotator → open pairs, calibration aside."""
    pace: dict[str, float]
    """Annotator at work → their part of the latest answers; of somebody new, the mean of the others."""

    @property
    def low(self) -> list[str]:
        """Who is at work and will soon have nothing left."""
        return [name for name in self.pace if self.open[name] <= LOW]

    def shift(self) -> tuple[dict[str, int], dict[str, int]]:
        """Who can give how many open pairs, and who takes how many: those that run low, then the others up to `KEEP`.

        A fair queue is in proportion to the pace, so that everybody's ends at the same time; nobody gives below it.
        """
        if not self.pace:
            return {}, {}
        away = [name for name in self.open if name not in self.pace]
        total = max(0, sum(self.open.values()) - KEEP * len(away))
        share = total / sum(self.pace.values())
        fair = {name: max(KEEP, math.floor(share * self.pace.get(name, 0.0))) for name in self.open}
        takes = {name: fair[name] - self.open[name] for name in [*self.low, *away]}
        gives = {name: self.open[name] - fair[name] for name in self.open if name not in self.low}
        return _positive(gives), _positive(takes)


def loads(ws: Workspace, now: datetime | None = None) -> Loads:
    """How it stands at `now`; default: the present."""
    now = now or datetime.now(UTC)
    tests = set(ws.store.calibration_sets())
    waiting = dict.fromkeys(certified_ids(ws), 0)
    for name, batch_id, _, still_open in ws.store.progress_by_annotator():
        if name in waiting and batch_id not in tests:
            waiting[name] += still_open
    last = ws.store.last_answers()
    here = [name for name in waiting if since(last.get(name, ""), now) <= AT_WORK]
    counts = Counter(name for name, _ in ws.store.latest_answers(LATEST) if name in here)
    mean = sum(counts.values()) / max(len(counts), 1)
    return Loads(waiting, {name: float(counts[name] or mean or 1.0) for name in here})


def since(stamp: str, now: datetime) -> timedelta:
    """Time from `stamp` to `now`; endless where there is no such time."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return timedelta.max
    return now - (found if found.tzinfo else found.replace(tzinfo=UTC))


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count > 0}
