"""What every check looks at: one answer with what is known of its pair. Judgments go in, `Answered` comes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preference.records import Answer, Judgment
from preference.store import AssignmentView


@dataclass(frozen=True)
class Answered:
    """One annotator's answer to one pair. All but the first three may be unknown, as for data from elsewhere."""

    pair_id: str
    annotator_id: str
    preference: Answer
    confidence: int | None = None
    response_time_ms: int | None = None
    created_at: str = ""
    assignment_id: str = ""
    left: str | None = None
    """Which trajectory was on the left, `A` or `B`."""
    duplicate: bool = False
    """The second showing of a pair that this annotator had seen."""
    expected: Answer | None = None
    """The gold answer."""
    dimension: str = ""
    stratum: str = ""
    task_type: str = ""

    @property
    def side(self) -> str | None:
        """What was answered in terms of the screen: `left`, `right` or `equal`."""
        if self.preference == "equal":
            return "equal"
        if self.left is None:
            return None
        return "left" if self.preference == self.left else "right"


def join(judgments: Iterable[Judgment], views: Iterable[AssignmentView]) -> list[Answered]:
    """Each judgment with its assignment and pair; judgments of other assignments are left out."""
    known = {view.assignment.assignment_id: view for view in views}
    return [
        _joined(judgment, known[judgment.assignment_id]) for judgment in judgments if judgment.assignment_id in known
    ]


def _joined(judgment: Judgment, view: AssignmentView) -> Answered:
    return Answered(
        pair_id=judgment.pair_id,
        annotator_id=judgment.annotator_id,
        preference=judgment.preference,
        confidence=judgment.confidence,
        response_time_ms=judgment.response_time_ms,
        created_at=judgment.created_at,
        assignment_id=judgment.assignment_id,
        left=view.assignment.left,
        duplicate=view.assignment.duplicate_of is not None,
        expected=view.pair.expected,
        dimension=view.pair.dimension,
        stratum=view.pair.stratum,
        task_type=view.pair.task_type,
    )


def by_annotator(answers: Iterable[Answered]) -> dict[str, list[Answered]]:
    """Annotator → their answers, annotators in alphabetical order."""
    groups: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        groups[answer.annotator_id].append(answer)
    return dict(sorted(groups.items()))


def votes(answers: Sequence[Answered]) -> dict[str, dict[str, Answer]]:
    """Pair → annotator → answer; a second showing does not vote."""
    table: dict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        if not answer.duplicate:
            table[answer.pair_id][answer.annotator_id] = answer.preference
    return dict(table)
