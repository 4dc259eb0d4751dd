"""Guessing, and sides swapped: how often an annotator who took a side took the right one.

Comparisons with gold answers go in where there are enough, otherwise with the others' answers. Ties are left
out on both sides, so a strict annotator who often says equal loses nothing here. Who guesses is right half the time;
who swapped the sides is wrong nearly always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from preference.records import Answer
from qc_reports.agreement.exact_tests import at_least, interval_of_share
from qc_reports.annotators.flag import Flag
from qc_reports.answers import Answered

ENOUGH = 20
"""Sides taken that a verdict needs."""
SWAPPED = 0.7
"""Share of opposite sides that counts as swapped, when a coin does not explain it either."""
COIN_P = 0.001


@dataclass(frozen=True)
class Tally:
    """How often somebody took the same side as the reference, and how often the other."""

    same: int
    opposite: int

    @property
    def n(self) -> int:
        return self.same + self.opposite

    @property
    def share(self) -> float:
        return self.same / self.n


def gold_tallies(people: Mapping[str, Sequence[Answered]]) -> dict[str, Tally]:
    """Against the gold answers; only who took enough sides on gold pairs."""
    tallies = {name: _tally((a.preference, a.expected) for a in own if not a.duplicate) for name, own in people.items()}
    return {name: tally for name, tally in tallies.items() if tally.n >= ENOUGH}


def peer_tallies(
    people: Mapping[str, Sequence[Answered]], ballots: Mapping[str, Mapping[str, Answer]], out: Collection[str]
) -> dict[str, Tally]:
    """Against the answers of the others who are not in `out`; needs two of them, since of two who differ either may be
    the one who is wrong."""
    found = {}
    for name, own in people.items():
        others: set[str] = set()
        pairs: list[tuple[str, str]] = []
        for a in own:
            if not a.duplicate:
                seen = {who: word for who, word in ballots[a.pair_id].items() if who != name and who not in out}
                others.update(seen)
                pairs += [(a.preference, word) for word in seen.values()]
        tally = _tally(pairs)
        if len(others) > 1 and tally.n >= ENOUGH:
            found[name] = tally
    return found


def side_flag(name: str, tallies: Mapping[str, Tally], reference: str) -> Flag | None:
    """Whether one annotator swapped the sides or guesses, seen beside the others.

    Args:
        reference: What the tallies were held against, for the sentence: `the gold answer`, `the others`.
    """
    own = tallies[name]
    wrong = own.opposite / own.n
    if wrong >= SWAPPED and at_least(own.opposite, own.n, 0.5) < COIN_P:
        sentence = f"{name} took the opposite side of {reference} in {own.opposite} of {own.n} cases: sides swapped?"
        interval = interval_of_share(own.opposite, own.n)
        return Flag(name, "swapped", wrong, SWAPPED, own.n, sentence, *interval, minimum=ENOUGH)
    others = [tally.share for who, tally in tallies.items() if who != name]
    usual = median(others) if others else 1.0
    limit = (0.5 + usual) / 2
    if interval_of_share(own.same, own.n, level=0.9)[1] >= limit:  # one-sided 95 %
        return None
    there = f", where the others are at {usual:.0%}" if others else ""
    sentence = f"{name} took the side of {reference} in {own.share:.0%} of {own.n} cases, as guessing would{there}."
    interval = interval_of_share(own.same, own.n)
    return Flag(name, "guessing", own.share, limit, own.n, sentence, *interval, minimum=ENOUGH)


def _tally(pairs: Iterable[tuple[str, str | None]]) -> Tally:
    same = opposite = 0
    for mine, other in pairs:
        if mine in ("A", "B") and other in ("A", "B"):
            same += mine == other
            opposite += mine != other
    return Tally(same, opposite)
