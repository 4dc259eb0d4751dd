"""Who needs a review, and why: answers and figures go in, flags come out.

A flag is an accusation, so it has an error rate: every test knows how hard the pairs were, counts each of a person's
answers once, and all tests of all people are judged together (`standing`). What was seen must also be large enough to
matter. Answers of earlier batches count, the newest most; nobody is held against gold that people contradict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from preference.config import Quality
from qc_reports.agreement.pair_model import PairModel
from qc_reports.annotators.against_others import tests_against_others
from qc_reports.annotators.change_point import tests_for_change
from qc_reports.annotators.comparison import BATCHES, compare, model_of
from qc_reports.annotators.copies import copy_tests
from qc_reports.annotators.flag import Flag, Kind, Tested, standing
from qc_reports.annotators.gold import GoldCheck, check_gold
from qc_reports.annotators.own_answers import speed_tests, tests_of_own
from qc_reports.annotators.protocol import Threshold, protocol_flags, thresholds
from qc_reports.annotators.statistics import AnnotatorStats
from qc_reports.answers import Answered, planned, votes

ORDER = ("swapped", "side_bias", "one_answer", "copy", "turned", "guessing", "gold", "speed", "self_consistency",
         "majority")  # fmt: skip
"""What explains most comes first."""

CAUSES: dict[Kind, tuple[Kind, ...]] = {
    "guessing": ("side_bias", "one_answer"), "copy": ("side_bias", "one_answer"), "side_bias": ("swapped",),
}  # fmt: skip
"""Flag → flags that explain it, beside which it is not raised."""


@dataclass(frozen=True)
class Examination:
    """What a batch's answers, with those of the batches before, say of its annotators."""

    flags: list[Flag]
    thresholds: list[Threshold]
    """Everybody beside the protocol's plain limits."""
    gold: GoldCheck
    model: PairModel
    """Of the answers, without gold."""
    reliability: dict[str, float] = field(default_factory=dict)
    """Annotator → share of careful answers, as `qc_reports.agreement.pair_model` has it."""


def examine(
    answers: Sequence[Answered],
    stats: Sequence[AnnotatorStats],
    quality: Quality,
    *,
    rng: np.random.Generator,
    earlier: Sequence[Sequence[Answered]] = (),
    settled: Collection[str] = (),
) -> Examination:
    """Everything there is to say of the annotators of one batch.

    Args:
        answers: Of the batch.
        stats: The figures of the same answers.
        earlier: Answers of the batches before it, the newest first, without those that a review settled.
        settled: Annotators whose repeats a review of a later batch settled.
    """
    here = {answer.annotator_id for answer in answers}
    history = [planned(answers), *([a for a in batch if a.annotator_id in here] for batch in map(planned, earlier))]
    batches = history[:BATCHES]
    model = model_of(batches)
    gold = check_gold(batches, model, as_written=quality.flags == "protocol")
    everybody, reliability = compare(batches, gold.asked, model)
    people = {name: own for name, own in everybody.items() if name in here}
    rows = thresholds(stats, quality)
    if quality.flags == "protocol":
        return Examination(protocol_flags(rows, stats, quality), rows, gold, model, reliability)
    tests = [*tests_of_own(history, gold.usable, quality), *speed_tests(stats, quality)]
    newest = {name: own.newest() for name, own in people.items()} if len(batches) > 1 else {}
    tests += _either(tests_against_others(people, quality), tests_against_others(newest, quality))
    tests += tests_for_change(batches, people, rng)
    accused = {flag.annotator_id for flag in standing(tests)}
    everything = [answer for batch in batches for answer in batch]
    tests += copy_tests(everything, votes(everything), accused)
    found = [
        flag for flag in _without_consequences(standing(tests)) if flag.annotator_id in here
        and not (flag.kind == "self_consistency" and flag.annotator_id in settled)
    ]  # fmt: skip
    found.sort(key=lambda flag: (flag.annotator_id, ORDER.index(flag.kind)))
    return Examination(found, rows, gold, model, reliability)


def flags(
    answers: Sequence[Answered],
    stats: Sequence[AnnotatorStats],
    quality: Quality,
    *,
    rng: np.random.Generator,
    earlier: Sequence[Sequence[Answered]] = (),
    settled: Collection[str] = (),
) -> list[Flag]:
    """All flags, by annotator; as `examine`."""
    return examine(answers, stats, quality, rng=rng, earlier=earlier, settled=settled).flags


def _either(over_all: Iterable[Tested], newest: Iterable[Tested]) -> list[Tested]:
    """Of two looks at the same, at all batches and at the newest alone, the one that says more; its p-value doubled."""
    found = {(test.flag.annotator_id, test.flag.kind): [test] for test in over_all}
    second = list(newest)
    for test in second:
        found.setdefault((test.flag.annotator_id, test.flag.kind), []).append(test)
    best = [min(looks, key=lambda test: (not test.matters, test.flag.p)) for looks in found.values()]
    return [Tested(replace(test.flag, p=min(1.0, 2 * test.flag.p)), test.matters) for test in best] if second else best


def _without_consequences(found: Sequence[Flag]) -> list[Flag]:
    """Always the same side, or the same answer, looks like guessing, and two who do it like copies of each other; sides
    swapped look like a preference for one of them."""
    kinds = {(flag.annotator_id, flag.kind) for flag in found}
    return [
        flag for flag in found if not any((flag.annotator_id, cause) in kinds for cause in CAUSES.get(flag.kind, ()))
    ]
