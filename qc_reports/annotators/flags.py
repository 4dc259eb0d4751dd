"""Who needs a review, and why: answers and figures go in, flags come out.

With two annotators a pair, "the others" are one person, who may be the one at fault. So gold answers, own repeats and
times speak first, and whoever they accuse is no measure for anybody else. Then the others' answers are used, the
clearest case first, and whoever is found leaves the others' side too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from preference.config import Quality
from preference.records import Answer
from qc_reports.annotators.change_point import checks_of, turned_flag, usual_rates
from qc_reports.annotators.copies import copy_flags
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.guessing import gold_tallies, peer_tallies, side_flag
from qc_reports.annotators.statistics import AnnotatorStats
from qc_reports.annotators.thresholds import one_answer, threshold_flags
from qc_reports.answers import Answered, by_annotator, planned, votes

ORDER = ("swapped", "side_bias", "one_answer", "copy", "turned", "guessing", "gold", "speed", "self_consistency",
         "majority")  # fmt: skip
"""What explains most comes first."""


def flags(
    answers: Sequence[Answered], stats: Sequence[AnnotatorStats], quality: Quality, *, rng: np.random.Generator
) -> list[Flag]:
    """All flags, by annotator."""
    answers = planned(answers)
    people, ballots = by_annotator(answers), votes(answers)
    found = [flag for row in stats for flag in threshold_flags(row, quality)]
    found += [flag for name, own in people.items() if (flag := one_answer(name, own, _others(own, ballots), quality))]
    gold = gold_tallies(people)
    found += [flag for name in gold if (flag := side_flag(name, gold, "the gold answer"))]
    accused = {flag.annotator_id for flag in found if flag.kind != "majority"}
    while news := list(_by_others(people, ballots, accused, gold, found, rng)):
        clearest = max(news, key=lambda flag: abs(flag.value - flag.threshold))
        found.append(clearest)
        accused.add(clearest.annotator_id)
    found += copy_flags(answers, ballots, accused)
    return sorted(_without_consequences(found), key=lambda flag: (flag.annotator_id, ORDER.index(flag.kind)))


def _by_others(
    people: Mapping[str, Sequence[Answered]],
    ballots: Mapping[str, Mapping[str, Answer]],
    accused: set[str],
    gold: Mapping[str, object],
    found: Sequence[Flag],
    rng: np.random.Generator,
) -> Iterator[Flag]:
    """What the others' answers say of who has no flag of that kind yet."""
    done = {(flag.annotator_id, flag.kind) for flag in found}
    peers = peer_tallies({name: own for name, own in people.items() if name not in gold}, ballots, accused)
    for name in peers:
        flag = side_flag(name, peers, "the others")
        if flag and name not in accused:
            yield flag
    checks = {name: checks_of(own, ballots, accused) for name, own in people.items()}
    usual = usual_rates(checks)
    for name, own in checks.items():
        if (name, "turned") not in done and (flag := turned_flag(name, own, usual, rng)):
            yield flag


def _others(own: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]) -> list[Answer]:
    """Every other annotator's answers to the same pairs."""
    return [word for a in own if not a.duplicate for who, word in ballots[a.pair_id].items() if who != a.annotator_id]


def _without_consequences(found: Sequence[Flag]) -> list[Flag]:
    """Always the same side, or the same answer, looks like guessing, and two who do it like copies of each other."""
    plain = {flag.annotator_id for flag in found if flag.kind in ("side_bias", "one_answer")}
    return [flag for flag in found if flag.annotator_id not in plain or flag.kind not in ("guessing", "copy")]
