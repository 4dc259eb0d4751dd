"""Label Studio's annotations into judgments, or into rejections that say why not.

In: all annotations of a task, as Label Studio gives them when asked (importer.studio.pull). Out: rows of `judgments`
and `rejected`, a function of these annotations and of nothing else:

- the valid annotation with the highest id is the judgment; in a test it is the one with the lowest: the first answer
  counts, and once the test is answered nothing about it changes any more, even if more pairs are added later;
- every other valid one and every unusable one are rejections, and keep their raw JSON.

A task is settled in one transaction: two pulls of it wait for each other, and a kill leaves the old rows or the new
ones. Label Studio checks an answer in the browser only: its API stores anything, so everything is checked here.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, TypeGuard, TypeVar

from importer.studio.queues import is_test
from labeling_config.contract import BadAnswer, answer_of, preference_of
from labeling_config.questions import answers_in
from preference.logs import request_id, tell
from preference.records import SETTLED, Annotator, Assignment, Judgment, Rejection
from preference.store import Store

UNKNOWN_TASK = "unknown task"
CHUNK = 100
"""Tasks settled in one transaction: a webhook during a pull waits for no more than these."""

LARGEST = 2**31 - 1
LONGEST_MS = LARGEST
"""24 days: a tab left open for longer does not fit into the column."""

Raw = Mapping[str, Any]
Row = TypeVar("Row", Judgment, Rejection)
log = logging.getLogger("robopref.judgments")


@dataclass(frozen=True)
class Recorded:
    """What recording changed; an annotation that was already known is not counted."""

    new: int = 0
    updated: int = 0
    rejected: int = 0
    closed: int = 0
    """Pairs of a training that need no answer any more; Label Studio has them as skipped."""

    def __add__(self, other: Recorded) -> Recorded:
        mine, theirs = astuple(self), astuple(other)
        return Recorded(*(one + another for one, another in zip(mine, theirs, strict=True)))


def judge(annotation: Raw, assignment: Assignment | None, annotator: Annotator | None) -> Judgment | Rejection:
    """One annotation as a judgment, left and right mapped back to A and B, or as a rejection.

    Args:
        annotation: Label Studio's JSON; needs `id`, and `task` or the assignment's task.
        assignment: The one that the annotation's task stands for; None where the task is not ours.
        annotator: Whom the pair was assigned to.
    """
    annotation_id, task_id, raw = _id_of(annotation), task_of(annotation), _kept(annotation)
    if assignment is None:
        return Rejection(annotation_id, task_id, UNKNOWN_TASK, raw)
    author = _author(annotation)
    if annotator is None or author is None or author != annotator.studio_user_id:
        reason = f"answered by Label Studio's user {author}, assigned to {assignment.annotator_id}"
        return Rejection(annotation_id, task_id, reason, raw)
    try:
        answer = answer_of(annotation)
        preference = preference_of(answer.side, assignment.left)
    except BadAnswer as bad:
        return Rejection(annotation_id, task_id, bad.reason, raw)
    lead_ms = _milliseconds(answer.lead_time_s)
    response_ms = lead_ms if answer.response_ms is None else min(answer.response_ms, LONGEST_MS)
    if response_ms is None:
        return Rejection(annotation_id, task_id, f"response time {annotation.get('lead_time')!r}", raw)
    return Judgment(
        assignment_id=assignment.assignment_id,
        annotator_id=assignment.annotator_id,
        pair_id=assignment.pair_id,
        preference=preference,
        confidence=answer.confidence,
        response_time_ms=response_ms,
        free_text_reason=_storable(answer.reason),
        lead_time_ms=lead_ms,
        annotation_id=annotation_id,
        task_id=task_id,
        created_at=str(annotation.get("created_at") or ""),
        raw=raw,
        questions=answers_in(annotation.get("result"), assignment.left),
    )


def judge_task(
    annotations: Iterable[Raw], assignment: Assignment | None, annotator: Annotator | None, *, first: bool = False
) -> tuple[Judgment | None, list[Rejection]]:
    """All annotations of one task, each in one version → its judgment, if any, and the rest as rejections.

    Args:
        first: The oldest valid annotation counts, not the newest.
    """
    outcomes = [judge(annotation, assignment, annotator) for annotation in annotations]
    rejections = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
    valid = sorted((o for o in outcomes if isinstance(o, Judgment)), key=lambda j: j.annotation_id or 0, reverse=first)
    for other in valid[:-1]:
        counts = valid[-1].annotation_id
        reason = (
            f"repeats annotation {counts}: a test is answered once" if first else f"superseded by annotation {counts}"
        )
        rejections.append(Rejection(other.annotation_id or 0, other.task_id, reason, other.raw))
    return (valid[-1] if valid else None), sorted(rejections, key=lambda r: r.annotation_id)


def replace_annotations(
    store: Store,
    tasks: Mapping[int, Sequence[Raw]],
    before: Mapping[int, str] | None = None,
    requests: Mapping[int, str] | None = None,
) -> Recorded:
    """These tasks have exactly these annotations: what the store has besides was deleted in Label Studio.

    Args:
        tasks: Task → its annotations; those without a usable id are left aside.
        before: `store.annotation_stamps` from before the annotations were read. What is known now and was not then came
            after the reading, and stays unless the reading has a newer version. None: nothing can have come meanwhile.
        requests: Task → id of the webhook that named it; others came with the request at hand.
    """
    usable = {task: [a for a in annotations if is_id(a.get("id"))] for task, annotations in tasks.items()}

    def gone(row: dict[str, Any]) -> bool:
        return before is None or before.get(row["annotation_id"]) == _stamp(row["raw"])

    return _record(store, usable, gone, requests or {})


def rejudge_unknown(store: Store) -> Recorded:
    """Look again at annotations of tasks that no assignment knew: a push that was killed may be finished by now."""
    lost = [rejection.raw for rejection in store.rejections() if rejection.reason == UNKNOWN_TASK]
    tasks = {task for raw in lost if (task := task_of(raw)) is not None}
    known = set(store.assignments_of_tasks(tasks))
    return _record(store, {task: [] for task in known}) if known else Recorded()


def task_of(annotation: Raw) -> int | None:
    """Id of the task that an annotation belongs to; Label Studio gives the id, or the task with its `id`."""
    task = annotation.get("task")
    return _integer(task.get("id") if isinstance(task, Mapping) else task)


def is_id(value: object) -> TypeGuard[int]:
    """A whole number that a database's column holds; an API caller may send any."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _record(
    store: Store,
    tasks: Mapping[int, Sequence[Raw]],
    gone: Callable[[dict[str, Any]], bool] = lambda _: False,
    requests: Mapping[int, str] | None = None,
) -> Recorded:
    """Settle each task anew from what is known and what is given, and write the rows that differ.

    Args:
        gone: Whether a known row no longer counts.
    """
    recorded = Recorded()
    order = sorted(tasks)
    for start in range(0, len(order), CHUNK):
        chunk = {task: tasks[task] for task in order[start : start + CHUNK]}
        if len(chunk) > 1 and _outcome(store, chunk, gone, {}).changes_nothing:
            continue  # most of a pull is known already, and needs no lock
        with store.together():
            store.lock_tasks(chunk)
            outcome = _outcome(store, chunk, gone, requests or {})
            # A row that moves between the two tables is taken out of the one before it goes into the other.
            store.delete_judgments(outcome.forget)
            store.put_judgments(outcome.judgments, outcome.rejections)
        for settled in outcome.settled:
            tell(log, "task settled", **settled)
        recorded += outcome.recorded
    return recorded


@dataclass
class _Outcome:
    """What is to be written about some tasks."""

    forget: list[int] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    recorded: Recorded = Recorded()
    settled: list[dict[str, Any]] = field(default_factory=list)
    """Of each task what a log line says."""

    @property
    def changes_nothing(self) -> bool:
        return not (self.forget or self.judgments or self.rejections)


def _outcome(
    store: Store,
    tasks: Mapping[int, Sequence[Raw]],
    gone: Callable[[dict[str, Any]], bool],
    requests: Mapping[int, str],
) -> _Outcome:
    known = _known(store, tasks)
    assignments = store.assignments_of_tasks(tasks)
    annotators = {annotator.annotator_id: annotator for annotator in store.annotators()}
    finished = functools.cache(store.finished)
    outcome = _Outcome()
    for task, given in tasks.items():
        before = known.get(task, {})
        assignment = assignments.get(task)
        annotator = annotators.get(assignment.annotator_id) if assignment else None
        test = assignment is not None and annotator is not None and is_test(assignment.batch_id, annotator)
        final = (
            test and assignment is not None and finished(assignment.annotator_id, assignment.batch_id, assignment.part)
        )
        if final:
            given = [annotation for annotation in given if _id_of(annotation) not in before]
        newest = _newest([*(row["raw"] for row in before.values() if final or not gone(row)), *given])
        judgment, refused = judge_task(newest, assignment, annotator, first=test)
        changed = _changed(before, judgment, refused)
        if changed != Recorded() or len(before) != len(newest):
            outcome.recorded += changed
            outcome.forget += before
            request = requests.get(task) or request_id()
            outcome.judgments += _brought_by(request, [judgment] if judgment else [], before)
            outcome.rejections += _brought_by(request, refused, before)
            outcome.settled.append(
                {"task": task, "assignment_id": assignment and assignment.assignment_id,
                 "annotation_id": judgment and judgment.annotation_id, "rejected": len(refused), "request_id": request}
            )  # fmt: skip
    return outcome


def _brought_by(request: str, rows: Iterable[Row], before: Mapping[int, dict[str, Any]]) -> list[Row]:
    """The rows with this request, or with the one before where that brought the same annotation."""

    def brought(row: Row) -> str:
        known = before.get(row.annotation_id or 0)
        return known["request_id"] if known and _version(known["raw"]) == _version(row.raw) else request

    return [replace(row, request_id=brought(row)) for row in rows]


def _changed(before: Mapping[int, dict[str, Any]], judgment: Judgment | None, refused: list[Rejection]) -> Recorded:
    was = next((row for row in before.values() if "preference" in row), None)
    said = {key: (row.get("reason"), *_version(row["raw"])) for key, row in before.items()}
    changed = [r for r in refused if said.get(r.annotation_id) != (r.reason, *_version(r.raw))]
    closed = sum(r.reason == SETTLED for r in changed)
    rejected = len(changed) - closed
    if judgment is None:
        return Recorded(updated=int(was is not None), rejected=rejected, closed=closed)
    same = said.get(judgment.annotation_id or 0) == (None, *_version(judgment.raw))
    return Recorded(new=int(was is None), updated=int(was is not None and not same), rejected=rejected, closed=closed)


def _newest(annotations: Iterable[Raw]) -> list[Raw]:
    """The newest version of each annotation; where the stamps do not tell, the one that came last."""
    newest: dict[int, Raw] = {}
    for annotation in annotations:
        key = _id_of(annotation)
        if key not in newest or _stamp(annotation) >= _stamp(newest[key]):
            newest[key] = annotation
    return list(newest.values())


def _stamp(annotation: Raw) -> str:
    """When the annotation was last changed, ISO 8601 in UTC: later sorts after."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _version(annotation: Raw) -> tuple[str, object]:
    return _stamp(annotation), annotation.get("result")


def _author(annotation: Raw) -> int | None:
    author = annotation.get("completed_by")
    return _integer(author.get("id") if isinstance(author, Mapping) else author)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else min(round(1000 * seconds), LONGEST_MS)


def _storable(text: str) -> str:
    """Without what a browser never sends, an API caller may, and a database cannot hold."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _kept(value: Any) -> Any:
    """JSON as every database takes it: PostgreSQL does not read what holds NUL, half a character or no number."""
    if isinstance(value, Mapping):
        return {_storable(str(key)): _kept(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _storable(value) if isinstance(value, str) else value


def _id_of(annotation: Raw) -> int:
    return int(annotation["id"])


def _integer(value: object) -> int | None:
    return value if is_id(value) else None


def _known(store: Store, tasks: Iterable[int]) -> dict[int, dict[int, dict[str, Any]]]:
    """task id → annotation id → its row, whichever of the two tables it is in."""
    known: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in store.annotation_rows("task_id", tasks):
        known[row["task_id"]][row["annotation_id"]] = row
    return known
