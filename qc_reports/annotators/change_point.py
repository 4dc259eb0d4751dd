"""A good annotator who turned bad half-way: a change-point in the answers' order in time.

Each answer is held against what is known: the annotator's own first answer to the same pair, or what the others'
answers and gold make one expect. What counts is how much better or worse than most people on such a pair, so that a run
of hard pairs is no change. A few votes do not tell how hard the pairs of an active round are, which were chosen to be
hard; so how the others fared in the same batch is taken off as well. A permutation test then says whether the fall is
more than the order of luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qc_reports.agreement.exact_tests import interval_of_share, worst_drop
from qc_reports.annotators.comparison import Comparison
from qc_reports.annotators.flag import Flag, Tested
from qc_reports.answers import Answered, by_annotator

SHORTEST = 20
"""Checks on each side of a change."""
DROP = 0.2
"""Least fall, in share of right answers, beside what most people would have had on the same pairs."""
SHUFFLES = 999
KNOWN_BEFORE = 20
"""Checks of others in a batch, in which they fare as expected, that are added before their mean is taken."""
GUESSED = 0.4
"""How often somebody who does not look is right: two answers of three, hardly ever the third."""


@dataclass(frozen=True)
class Check:
    """One answer held against something."""

    pair_id: str
    right: bool
    chance: float
    """How often most people would be right there."""
    batch_id: str


def tests_for_change(
    batches: Sequence[Sequence[Answered]], people: Mapping[str, Comparison], rng: np.random.Generator
) -> Iterator[Tested]:
    """Whether somebody's answers became clearly worse, and where; over all batches, in their order in time.

    Args:
        batches: Answers, the newest batch first.
        people: From the same answers.
    """
    own = by_annotator(answer for batch in reversed(batches) for answer in batch)
    repeats = [check.right for answers in own.values() for _, check in _repeats(answers, 0.0)]
    usual = sum(repeats) / max(len(repeats), 1)
    checks = {name: _checks(own[name], compared, usual) for name, compared in people.items()}
    for name, found in checks.items():
        if len(found) >= 2 * SHORTEST:
            others = [check for other, theirs in checks.items() if other != name for check in theirs]
            yield _tested(name, found, _surplus_by_batch(others), rng)


def _surplus_by_batch(checks: Sequence[Check]) -> dict[str, float]:
    """Batch → how much better than expected its checks came out, in the mean."""
    sums: dict[str, tuple[float, float]] = {}
    for check in checks:
        total, count = sums.get(check.batch_id, (0.0, KNOWN_BEFORE))
        sums[check.batch_id] = total + check.right - check.chance, count + 1
    return {batch_id: total / count for batch_id, (total, count) in sums.items()}


def _tested(name: str, own: Sequence[Check], others: Mapping[str, float], rng: np.random.Generator) -> Tested:
    """`others`: batch → surplus of the others there."""
    right, chance = np.array([(check.right, check.chance) for check in own], dtype=float).T
    surplus = right - chance - np.array([others.get(check.batch_id, 0.0) for check in own])
    drop = worst_drop(_telling(chance) * surplus, rng, shortest=SHORTEST, least=0.0, shuffles=SHUFFLES)
    fall = float(surplus[: drop.at].mean() - surplus[drop.at :].mean()) if drop.at < len(own) else 0.0
    if fall < DROP:
        return Tested(Flag(name, "turned", float(right.mean()), float(right.mean()), len(own), "", p=1.0), False)
    before, after, n = float(right[: drop.at].mean()), float(right[drop.at :].mean()), len(own) - drop.at
    since = own[drop.at].pair_id
    sentence = (
        f"{name} was right in {before:.0%} of the first {drop.at} checks and in {after:.0%} of the {n} from pair "
        f"{since} on."
    )
    expected = after + fall
    flag = Flag(name, "turned", after, before, len(own), sentence, *interval_of_share(round(after * n), n),
                minimum=2 * SHORTEST, since=since, expected=expected, p=drop.p)  # fmt: skip
    return Tested(flag, True)


def _telling(chance: np.ndarray) -> np.ndarray:
    """(N,) how much a check says: the weight that tells somebody who guesses from most people best, by the ratio of
    their likelihoods; none on pairs on which most people do no better than a guesser."""
    sure = np.clip(chance, 0.01, 0.99)
    return np.maximum(np.log(sure / (1 - sure)) - math.log(GUESSED / (1 - GUESSED)), 0.0)


def _checks(answers: Sequence[Answered], compared: Comparison, usual: float) -> list[Check]:
    """One annotator's checks in their order in time; with one other person to compare with only the repeats."""
    hits = compared.answer == compared.expected.argmax(axis=1)
    batch = {a.pair_id: a.batch_id for a in answers}
    known = {pair_id: Check(pair_id, bool(hit), float(chance), batch[pair_id]) for pair_id, hit, chance in
             zip(compared.pair_ids, hits, compared.expected.max(axis=1), strict=True)}  # fmt: skip
    again = {id(answer): check for answer, check in _repeats(answers, usual)}
    timed = all(a.created_at for a in answers)
    found = []
    for a in sorted(answers, key=lambda a: a.created_at) if timed else answers:
        check = again.get(id(a)) if a.duplicate else known.get(a.pair_id) if compared.others > 1 else None
        if check:
            found.append(check)
    return found


def _repeats(answers: Sequence[Answered], usual: float) -> list[tuple[Answered, Check]]:
    first = {a.pair_id: a.preference for a in answers if not a.duplicate}
    return [(a, Check(a.pair_id, a.preference == first[a.pair_id], usual, a.batch_id))
            for a in answers if a.duplicate and a.pair_id in first]  # fmt: skip
