"""What is finished is finished: a verdict is about the answers that it was made from.

With the acceptance of a batch each of its answers is noted. One that is another later, or is gone, reopens the batch:
it is held, with the number of changed answers and whose they are, until a person has looked. Answers that came
afterwards, such as third opinions, change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from preference.records import Judgment, Verdict
from preference.workspace import Workspace


def noted(judgments: Iterable[Judgment]) -> dict[str, str]:
    """Assignment → its answer, in short: `A4` is A with confidence 4."""
    return {judgment.assignment_id: f"{judgment.preference}{judgment.confidence}" for judgment in judgments}


def changed(verdict: Verdict | None, answers: Mapping[str, str]) -> set[str]:
    """Assignments whose answer is not what it was when the batch was accepted."""
    if verdict is None:
        return set()
    return {assignment for assignment, answer in verdict.answers.items() if answers.get(assignment) != answer}


def sentence(verdict: Verdict, assignments: Collection[str], people: Mapping[str, str]) -> str:
    """Why the batch is open again.

    Args:
        assignments: Those that were changed.
        people: Assignment → annotator.
    """
    by_person = Counter(people.get(assignment, "somebody") for assignment in assignments)
    named = ", ".join(f"{count} by {name}" for name, count in sorted(by_person.items()))
    return (
        f"Reopened: answers were changed after it was accepted on {verdict.at[:10]}: {named}. "
        "`robopref batch review` or `robopref batch accept` decides about them."
    )


def changed_batches(ws: Workspace) -> list[str]:
    """Accepted batches of which an answer changed since; the answers that came since are noted in the others."""
    accepted = [batch.batch_id for batch in ws.store.batches(calibration=False) if batch.status == "accepted"]
    verdicts = ws.store.verdicts()
    found = []
    for batch_id in accepted:
        verdict, answers = verdicts.get(batch_id), noted(ws.store.judgments(batch_id))
        if gone := changed(verdict, answers) - _left_out(ws, batch_id):
            found.append(batch_id)
        elif verdict is None or (not gone and verdict.answers != answers):
            ws.store.put_batch_verdict(batch_id, answers)
    return found


def without_left_out(ws: Workspace, batch_id: str, assignments: set[str]) -> set[str]:
    """Those of the assignments whose annotator no review has left out of the batch."""
    return assignments - _left_out(ws, batch_id) if assignments else assignments


def _left_out(ws: Workspace, batch_id: str) -> set[str]:
    gone = {annotator for batch, annotator in ws.store.left_out() if batch == batch_id}
    if not gone:
        return set()
    return {
        view.assignment.assignment_id for view in ws.store.assignments(batch_id) if view.assignment.annotator_id in gone
    }
