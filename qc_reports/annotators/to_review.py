"""What to look at of a flagged annotator: their latest judgments in the batch, each with a link into Label Studio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from preference.records import Review
from preference.store import AssignmentView
from qc_reports.answers import Answered, by_annotator, votes

LATEST = 20
"""Judgments to look at; enough to see a habit, and a quarter of an hour's work."""


def to_review(
    flags: Sequence[Mapping[str, Any]],
    answers: Sequence[Answered],
    views: Iterable[AssignmentView],
    studio_url: str,
    reviews: Iterable[Review] = (),
) -> list[dict[str, Any]]:
    """One entry for each flagged annotator: `annotator_id`, `kinds` of the flags, `reviewed` (a sentence, or empty) and
    `judgments`, newest first, with `pair_id`, `preference`, `side`, `expected`, `others` (annotator → answer),
    `confidence`, `seconds`, `created_at` and `url`, which opens the task; empty where it has none.

    Args:
        flags: `asdict` of each.
        answers: Of this batch.
        views: Of this batch.
        studio_url: Where people reach Label Studio.
    """
    urls = {view.assignment.assignment_id: task_url(view, studio_url) for view in views}
    ballots, people = votes(answers), by_annotator(answers)
    signed = {(r.batch_id, r.annotator_id): f"{r.verdict.replace('_', ' ')}, {r.by}, {r.at[:10]}: {r.why}"
              for r in reviews}  # fmt: skip
    found = []
    for name in sorted({flag["annotator_id"] for flag in flags}):
        newest = sorted(people[name], key=lambda a: (a.created_at, a.assignment_id), reverse=True)[:LATEST]
        found.append(
            {
                "annotator_id": name,
                "kinds": [flag["kind"] for flag in flags if flag["annotator_id"] == name],
                "reviewed": signed.get((newest[0].batch_id, name), ""),
                "judgments": [_shown(a, ballots, urls.get(a.assignment_id, "")) for a in newest],
            }
        )
    return found


def _shown(a: Answered, ballots: Mapping[str, Mapping[str, Any]], url: str) -> dict[str, Any]:
    return {
        "pair_id": a.pair_id,
        "preference": a.preference,
        "side": a.side,
        "expected": a.expected,
        "others": {who: word for who, word in ballots[a.pair_id].items() if who != a.annotator_id},
        "confidence": a.confidence,
        "seconds": None if a.response_time_ms is None else a.response_time_ms / 1000,
        "created_at": a.created_at,
        "url": url,
    }


def task_url(view: AssignmentView, studio_url: str) -> str:
    """The task's page in Label Studio's data manager; empty where there is no task (any more)."""
    a = view.assignment
    if a.project_id is None or a.task_id is None or a.task_id < 0:
        return ""
    return f"{studio_url.rstrip('/')}/projects/{a.project_id}/data?task={a.task_id}"
