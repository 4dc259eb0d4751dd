"""How far people agree on the optional questions: judgments go in, one row a question and measure comes out.

For outcomes Krippendorff's alpha (ordinal: failure < partial < success), over clips; for reasons the mean Jaccard index
of two people's sets; for marks of where it went wrong the share that the other person marked too, within a tolerance,
at several; for parts the mean of intersection over union. Second showings are left out; a question that fewer than two
people answered about the same pair has no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Any

import krippendorff
import numpy as np

from labeling_config.questions import OUTCOMES
from preference.records import AssignmentView, Judgment

TOLERANCES_S = (0.25, 0.5, 1.0, 2.0)
"""How far apart two marks of the same moment may lie."""
SAME_S = 1.0
"""Within which two people's words for what went wrong are compared."""
Said = Mapping[str, Any]


@dataclass(frozen=True)
class QuestionAgreement:
    """One measure of one question."""

    question: str
    """`outcome`, `where`, `why` or `part`."""
    measure: str
    value: float
    """1 = everybody says the same."""
    compared: int
    """Twos of people, or clips for alpha, that it rests on."""


def question_agreement(judgments: Iterable[Judgment], views: Iterable[AssignmentView]) -> list[QuestionAgreement]:
    """Every measure for which there is something to compare."""
    second = {v.assignment.assignment_id for v in views if v.assignment.duplicate_of is not None}
    by_pair: dict[str, list[Said]] = defaultdict(list)
    for judgment in judgments:
        if judgment.questions and judgment.assignment_id not in second:
            by_pair[judgment.pair_id].append(judgment.questions)
    twos = [two for said in by_pair.values() for two in combinations(said, 2)]
    return [*_outcome(by_pair.values()), *_where(twos), *_why(twos), *_part(twos)]


def marked(judgments: Iterable[Judgment], pair_id: str) -> dict[str, float]:
    """`A`, `B` → the median of the marks of where it went wrong in that clip, in seconds; only clips with a mark."""
    found: dict[str, list[float]] = defaultdict(list)
    for judgment in judgments:
        for mark in judgment.questions.get("where", ()) if judgment.pair_id == pair_id else ():
            if mark["at"] is not None:
                found[mark["of"]].append(mark["at"])
    return {letter: median(times) for letter, times in found.items()}


def _outcome(pairs: Iterable[Sequence[Said]]) -> list[QuestionAgreement]:
    counts = []
    for said in pairs:
        for letter in ("A", "B"):
            words = [one["outcome"][letter] for one in said if letter in one.get("outcome", {})]
            if len(words) > 1:
                counts.append([words.count(outcome) for outcome in reversed(OUTCOMES)])
    if not counts or (np.sum(counts, axis=0) > 0).sum() < 2:
        return []
    alpha = krippendorff.alpha(value_counts=np.array(counts), value_domain=[0, 1, 2], level_of_measurement="ordinal")
    return [QuestionAgreement("outcome", "Krippendorff's alpha", float(alpha), len(counts))]


def _why(twos: Sequence[tuple[Said, Said]]) -> list[QuestionAgreement]:
    both = [(set(a["why"]), set(b["why"])) for a, b in twos if "why" in a and "why" in b]
    rows = [len(a & b) / len(a | b) for a, b in both]
    return [QuestionAgreement("why", "reasons in common (Jaccard)", fmean(rows), len(rows))] if rows else []


def _where(twos: Sequence[tuple[Said, Said]]) -> list[QuestionAgreement]:
    """Clips that both people marked, or called without fault."""
    clips = [(own, other) for a, b in twos for letter in ("A", "B")
             if (own := _marks(a, letter)) is not None and (other := _marks(b, letter)) is not None]  # fmt: skip
    if not clips:
        return []
    whether = [bool(own) == bool(other) for own, other in clips]
    rows = [QuestionAgreement("where", "whether anything went wrong", fmean(whether), len(whether))]
    moments = [(own, other) for own, other in clips if own and other]
    for tolerance in TOLERANCES_S if moments else ():
        near = [2 * len(_matched(own, other, tolerance)) / (len(own) + len(other)) for own, other in moments]
        rows.append(QuestionAgreement("where", f"same moments, within {tolerance:g} s", fmean(near), len(near)))
    words = [a["what"] == b["what"] for own, other in moments for a, b in _matched(own, other, SAME_S)
             if a["what"] and b["what"]]  # fmt: skip
    if words:
        rows.append(QuestionAgreement("where", f"same word for a moment within {SAME_S:g} s", fmean(words), len(words)))
    return rows


def _marks(said: Said, letter: str) -> list[Said] | None:
    """One person's marks on a clip; empty = nothing went wrong; None = they said nothing of it."""
    own = [mark for mark in said.get("where", ()) if mark["of"] == letter]
    return [mark for mark in own if mark["at"] is not None] if own else None


def _matched(own: Sequence[Said], other: Sequence[Said], tolerance: float) -> list[tuple[Said, Said]]:
    """Marks of both, one to one, the nearest first."""
    near = sorted(((abs(a["at"] - b["at"]), i, j) for i, a in enumerate(own) for j, b in enumerate(other)))
    taken: set[tuple[str, int]] = set()
    found = []
    for distance, i, j in near:
        if distance <= tolerance and ("own", i) not in taken and ("other", j) not in taken:
            taken |= {("own", i), ("other", j)}
            found.append((own[i], other[j]))
    return found


def _part(twos: Sequence[tuple[Said, Said]]) -> list[QuestionAgreement]:
    rows = []
    for a, b in twos:
        if "part" in a and "part" in b:
            both = [_length(a["part"], b["part"], letter) for letter in ("A", "B")]
            union = sum(whole for _, whole in both)
            rows.append(sum(common for common, _ in both) / union if union else 0.0)
    return (
        [QuestionAgreement("part", "seconds in common (intersection over union)", fmean(rows), len(rows))]
        if rows
        else []
    )


def _length(own: Sequence[Said], other: Sequence[Said], letter: str) -> tuple[float, float]:
    """Seconds in which both, and in which either, called this clip the better one."""
    spans = [[(p["from"], p["to"]) for p in part if p["better"] == letter] for part in (own, other)]
    ends = sorted({end for part in spans for span in part for end in span})
    common = whole = 0.0
    for begin, end in pairwise(ends):
        said = [any(low <= begin and end <= high for low, high in part) for part in spans]
        common += (end - begin) * all(said)
        whole += (end - begin) * any(said)
    return common, whole
