"""What every check looks at: one answer with what is known of its pair. Judgments go in, `Answered` comes out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from preference.records import Answer, AssignmentView, Judgment, Trajectory


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
    batch_id: str = ""
    tiers: str = ""
    """The two tiers, in alphabetical order: `expert / novice`."""
    quartiles: str = ""
    """The two quartiles, the lower first: `1 / 4`."""
    third: bool = False
    """Asked because two others differed."""
    impossible: bool | None = None
    """Whether the server's clock rules out the time that it claims (`annotators.clock`); None = not known."""
    expected_by_expert: bool = False
    """`expected` is an expert's word, and no heuristic."""

    @property
    def side(self) -> str | None:
        """What was answered in terms of the screen: `left`, `right` or `equal`."""
        if self.preference == "equal":
            return "equal"
        if self.left is None:
            return None
        return "left" if self.preference == self.left else "right"


def join(
    judgments: Iterable[Judgment], views: Iterable[AssignmentView], trajectories: Iterable[Trajectory] = ()
) -> list[Answered]:
    """Each judgment with its assignment and pair; judgments of other assignments are left out.

    Args:
        trajectories: Where they are given, tiers and quartiles are known too.
    """
    known = {view.assignment.assignment_id: view for view in views}
    pool = {trajectory.trajectory_id: trajectory for trajectory in trajectories}
    return [
        _joined(judgment, known[judgment.assignment_id], pool)
        for judgment in judgments
        if judgment.assignment_id in known
    ]


def _joined(judgment: Judgment, view: AssignmentView, pool: Mapping[str, Trajectory]) -> Answered:
    two = [pool[key] for key in (view.pair.trajectory_a_id, view.pair.trajectory_b_id) if key in pool]
    return Answered(
        pair_id=judgment.pair_id,
        annotator_id=judgment.annotator_id,
        preference=judgment.preference,
        confidence=None if "confidence" in judgment.unknown else judgment.confidence,
        response_time_ms=None if "response_time_ms" in judgment.unknown else judgment.response_time_ms,
        created_at=judgment.created_at,
        assignment_id=judgment.assignment_id,
        left=None if "left" in judgment.unknown else view.assignment.left,
        duplicate=view.assignment.duplicate_of is not None,
        third=view.assignment.third,
        expected=view.pair.expected,
        dimension=view.pair.dimension,
        stratum=view.pair.stratum,
        task_type=view.pair.task_type,
        batch_id=view.assignment.batch_id,
        tiers=" / ".join(sorted(t.tier for t in two)) if len(two) == 2 and all(t.tier for t in two) else "",
        quartiles=" / ".join(str(q) for q in sorted(t.quartile for t in two)) if len(two) == 2 else "",
    )


def planned(answers: Iterable[Answered]) -> list[Answered]:
    """Without third opinions. These are asked only where two differ, so with them people seem to agree less than they
    do, and whoever is asked seems to agree with nobody: agreement is measured on what was planned beforehand."""
    return [answer for answer in answers if not answer.third]


def unanswered(
    views: Iterable[AssignmentView],
    answers: Iterable[Answered],
    *,
    skipped: Collection[str] = (),
    dropped: Collection[tuple[str, str]] = (),
) -> list[AssignmentView]:
    """Assignments whose answers are still to come. Nobody waits for what an annotator skipped, nor for an annotator
    whom a review left out.

    Args:
        skipped: Assignments.
        dropped: (batch, annotator).
    """
    done = {answer.assignment_id for answer in answers} | set(skipped)
    return [
        view
        for view in views
        if view.assignment.assignment_id not in done
        and (view.assignment.batch_id, view.assignment.annotator_id) not in dropped
    ]


def waiting_by_pair(views: Iterable[AssignmentView]) -> Counter[str]:
    """Pair → assignments without an answer, second showings aside."""
    return Counter(view.pair.pair_id for view in views if view.assignment.duplicate_of is None)


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
