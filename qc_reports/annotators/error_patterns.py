"""What went wrong in a calibration set: one annotator's answers and the expert's go in, sentences and a list of pairs
for the second training session come out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from preference.records import Answer
from qc_reports.answers import Answered

WEAK_PART = 0.25
"""A dimension or a stratum is named when so much more of it was missed than of the whole set."""
ONE_SIDED = 0.75
"""A side is named when so many of the answers that took one took the same."""
MIN_ANSWERS = 8
"""No pattern is read into fewer answers."""


def findings(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    """Error patterns, as sentences for the second training session; empty when there is none to speak of."""
    if len(judged) < MIN_ANSWERS:
        return []
    return [
        *_sides(judged),
        *_opposite(judged, truth),
        *_ties(judged, truth),
        *_weak(judged, truth, "dimension", "about {}"),
        *_weak(judged, truth, "stratum", "of {} quartiles"),
    ]


def missed_pairs(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    """The missed pairs, for the second training session: the opposite of the expert's answer first, then by dimension,
    those with most misses first."""
    missed = [answer for answer in judged if answer.preference != truth[answer.pair_id]]
    weight = Counter(answer.dimension for answer in missed)

    def order(answer: Answered) -> tuple[bool, int, str, str]:
        mild = "equal" in (answer.preference, truth[answer.pair_id])
        return mild, -weight[answer.dimension], answer.dimension, answer.pair_id

    return [answer.pair_id for answer in sorted(missed, key=order)]


def _sides(judged: Sequence[Answered]) -> list[str]:
    sides = Counter(answer.side for answer in judged if answer.side in ("left", "right"))
    taken = sum(sides.values())
    if taken < MIN_ANSWERS:
        return []
    side, count = sides.most_common(1)[0]
    return [f"Chose the {side} side in {count} of {taken} answers."] if count / taken >= ONE_SIDED else []


def _ties(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    ties = sum(answer.preference == "equal" for answer in judged)
    meant = sum(truth[answer.pair_id] == "equal" for answer in judged)
    if not ties and meant >= 3:
        return [f"Never answered equal; the expert did {meant} times."]
    if ties >= 3 * max(meant, 1) and ties >= MIN_ANSWERS:
        return [f"Answered equal {ties} times; the expert did {meant} times."]
    return []


def _opposite(judged: Sequence[Answered], truth: Mapping[str, Answer]) -> list[str]:
    taken = [a for a in judged if "equal" not in (a.preference, truth[a.pair_id])]
    wrong = sum(a.preference != truth[a.pair_id] for a in taken)
    if len(taken) < MIN_ANSWERS or wrong / len(taken) < 1 - ONE_SIDED:
        return []
    hint = " Were the sides confused?" if wrong / len(taken) >= ONE_SIDED else ""
    return [f"Took the opposite side of the expert in {wrong} of {len(taken)} pairs.{hint}"]


def _weak(judged: Sequence[Answered], truth: Mapping[str, Answer], field: str, words: str) -> list[str]:
    """The dimensions, or the strata, of which clearly more was missed than of the whole set."""
    missed: dict[str, list[bool]] = defaultdict(list)
    for answer in judged:
        missed[getattr(answer, field)].append(answer.preference != truth[answer.pair_id])
    overall = sum(map(sum, missed.values())) / len(judged)
    return [
        f"Missed {sum(wrong)} of {len(wrong)} pairs {words.format(name)}."
        for name, wrong in sorted(missed.items())
        if name and len(wrong) >= 4 and sum(wrong) / len(wrong) >= overall + WEAK_PART
    ]
