"""Reviews of flagged annotators: whose judgments count, what a reviewer should look at, and who decided when and why.

A flagged annotator's judgments are left out until somebody has reviewed them (the protocol), and afterwards if the
review says so. A flag of a kind that the review did not cover needs another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from preference.records import AssignmentView, Review
from qc_reports.annotators.flag import Flag
from qc_reports.answers import Answered, by_annotator, votes

LATEST = 20
"""Judgments to look at; enough to see a habit, and a quarter of an hour's work."""


@dataclass(frozen=True)
class ReviewStatus:
    """How the annotators of one batch stand."""

    pending: list[str] = field(default_factory=list)
    """Flagged and not reviewed; left out until then."""
    kept: list[Review] = field(default_factory=list)
    """Flagged, reviewed, and found good."""
    dropped: list[Review] = field(default_factory=list)
    """Reviewed, and left out for good."""
    accused: Mapping[str, list[str]] = field(default_factory=dict)
    """Annotator → kinds of their flags."""

    @property
    def left_out(self) -> frozenset[str]:
        """Whose judgments do not count at present."""
        return frozenset([*self.pending, *(review.annotator_id for review in self.dropped)])


def review_status(flags: Iterable[Flag], reviews: Iterable[Review]) -> ReviewStatus:
    """Everybody flagged in a batch, and everybody reviewed in it.

    Args:
        reviews: Those of this batch.
    """
    kinds: dict[str, set[str]] = {}
    for flag in flags:
        kinds.setdefault(flag.annotator_id, set()).add(flag.kind)
    by_person = {review.annotator_id: review for review in reviews}
    dropped = [review for review in by_person.values() if review.verdict == "leave_out"]
    kept = [
        review
        for name, review in by_person.items()
        if review.verdict == "keep" and kinds.get(name, set()) <= set(review.kinds)
    ]
    settled = {review.annotator_id for review in [*dropped, *kept]}
    accused = {name: sorted(own) for name, own in kinds.items()}
    return ReviewStatus(sorted(kinds.keys() - settled), kept, dropped, accused)


def sentences(where: ReviewStatus) -> list[str]:
    """What was decided, one sentence a person."""
    return [
        f"{review.annotator_id} was reviewed by {review.by} on {review.at[:10]}: {words} ({review.why})."
        for group, words in ((where.kept, "the judgments count"), (where.dropped, "the judgments are left out"))
        for review in group
    ]


def by_batch(reviews: Iterable[Review]) -> Mapping[str, list[Review]]:
    """Batch → its reviews."""
    found: dict[str, list[Review]] = {}
    for review in reviews:
        found.setdefault(review.batch_id, []).append(review)
    return found


def review_list(
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
    reviewed = {(r.batch_id, r.annotator_id): f"{r.verdict.replace('_', ' ')}, {r.by}, {r.at[:10]}: {r.why}"
              for r in reviews}  # fmt: skip
    found = []
    for name in sorted({flag["annotator_id"] for flag in flags}):
        newest = sorted(people[name], key=lambda a: (a.created_at, a.assignment_id), reverse=True)[:LATEST]
        found.append(
            {
                "annotator_id": name,
                "kinds": [flag["kind"] for flag in flags if flag["annotator_id"] == name],
                "reviewed": reviewed.get((newest[0].batch_id, name), ""),
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
