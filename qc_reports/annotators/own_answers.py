"""What one annotator's answers say by themselves: wrong on gold, not repeating themselves, too fast. Answers go in,
tested flags come out.

The tests ask whether chance explains the figure of somebody who stands exactly at the protocol's limit; or, for
repeats, of somebody like all others where these do worse than the limit: then the pairs are hard, which is nobody's
fault. Exact binomial tests. An answer to gold counts half for each batch that came after it; of repeats the last ones
count alike, over however many batches they are spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from preference.config import Quality
from preference.records import Answer
from qc_reports.agreement.exact_tests import at_least, interval_of_share, weighted_at_most
from qc_reports.annotators.comparison import BATCHES
from qc_reports.annotators.flag import Flag, Tested
from qc_reports.annotators.statistics import AnnotatorStats
from qc_reports.answers import Answered, by_annotator

REPEATS = 5
"""Repeats that a verdict needs; with fewer, chance explains whatever is seen."""
WINDOW = 20
"""A person's last repeats, which count: whole batches, back to the one in which there are so many, or to the last
review that settled them. A batch of 50 pairs has one repeat a person; four batches would never make a verdict."""
Counts = list[tuple[int, int]]
"""(right, answers) of each batch, the newest first."""


def tests_of_own(
    batches: Sequence[Sequence[Answered]], gold: Mapping[str, Answer], quality: Quality
) -> Iterator[Tested]:
    """Gold and repeats of everybody in the newest batch.

    Args:
        batches: Answers of all batches, the newest first.
        gold: Pair → its answer, where gold can be trusted.
    """
    people = [by_annotator(batch) for batch in batches]
    on_gold = {name: [_gold(batch.get(name, ()), gold) for batch in people[:BATCHES]] for name in people[0]}
    repeats = {name: _last([_repeats(batch.get(name, ())) for batch in people]) for name in people[0]}
    limit = 1 - quality.max_gold_disagreement
    for name, right, n, usual, p in _below(on_gold, limit, quality.min_answers, fades=True, beside_others=False):
        missed = n - right
        sentence = f"{name} disagrees with {missed / n:.0%} of {n} gold pairs."
        interval = interval_of_share(missed, n)
        flag = Flag(
            name, "gold", missed / n, 1 - limit, n, sentence, *interval, quality.min_answers, expected=1 - usual, p=p
        )
        yield Tested(flag, right < min(limit, usual) * n)
    limit = quality.min_self_consistency
    least = min(REPEATS, quality.min_answers)
    for name, right, n, usual, p in _below(repeats, limit, least, fades=False, beside_others=True):
        sentence = f"{name} repeats the answer on {right / n:.0%} of {n} repeated pairs."
        interval = interval_of_share(right, n)
        flag = Flag(name, "self_consistency", right / n, limit, n, sentence, *interval,
                    minimum=least, expected=usual, p=p)  # fmt: skip
        yield Tested(flag, right < min(limit, usual) * n)


def speed_tests(stats: Sequence[AnnotatorStats], quality: Quality) -> Iterator[Tested]:
    """Whether half of the answers or more come too fast: a one-sided sign test of the median. A mean says less: one
    coffee break hides a hundred clicks from it. The protocol's limit on the mean is among the thresholds."""
    limit = quality.min_response_s
    for s in stats:
        if s.timed < quality.min_answers:
            continue
        value, fast = s.median_response_s, round(s.too_fast * s.timed)
        sentence = f"{s.annotator_id} answers in a median of {value:.1f} s, {s.too_fast:.0%} in less than {limit:g} s."
        flag = Flag(s.annotator_id, "speed", value, limit, s.timed, sentence, *s.intervals["median_response_s"],
                    minimum=quality.min_answers, expected=limit, p=at_least(fast, s.timed, 0.5))  # fmt: skip
        yield Tested(flag, value < limit)


def _gold(own: Sequence[Answered], gold: Mapping[str, Answer]) -> tuple[int, int]:
    held = [a.preference == gold[a.pair_id] for a in own if a.pair_id in gold and not a.duplicate]
    return sum(held), len(held)


def _repeats(own: Sequence[Answered]) -> tuple[int, int]:
    first = {a.pair_id: a.preference for a in own if not a.duplicate}
    same = [a.preference == first[a.pair_id] for a in own if a.duplicate and a.pair_id in first]
    return sum(same), len(same)


def _last(counts: Counts) -> Counts:
    """The newest batches that have `WINDOW` repeats together, or all."""
    before = accumulate((n for _, n in counts), initial=0)
    return [one for one, seen in zip(counts, before, strict=False) if seen < WINDOW]


def _below(
    people: Mapping[str, Counts], limit: float, minimum: int, *, fades: bool, beside_others: bool
) -> Iterator[tuple[str, int, int, float, float]]:
    """(annotator, right, answers, what is usual, p): how often somebody at the limit, or like all others where that is
    lower, would be right as seldom. The batch at hand alone and all together are two looks: p is doubled; of repeats
    only where both have answers enough, since the batch at hand often has one.

    Args:
        fades: Whether an answer counts half for each batch that came after it.
    """
    total = [sum(part) for part in zip(*(counts for own in people.values() for counts in own), strict=True)] or [0, 0]
    for name, counts in people.items():
        own = [sum(part) for part in zip(*counts, strict=True)]
        right, n = total[0] - own[0], total[1] - own[1]
        usual = min(limit, right / n) if beside_others and n >= 20 else limit
        looks = [counts[:1], counts] if len(counts) > 1 else [counts]
        found = []
        for look in looks:
            hits, answers = (sum(part) for part in zip(*look, strict=True))
            if answers >= minimum:
                groups = [(h, m, 2 ** (BATCHES - 1 - age) if fades else 1) for age, (h, m) in enumerate(look)]
                found.append((weighted_at_most(groups, usual), hits, answers))
        if found:
            p, hits, answers = min(found)
            yield name, hits, answers, usual, min(1.0, (len(looks) if fades else len(found)) * p)
