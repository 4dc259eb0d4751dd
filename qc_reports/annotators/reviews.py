"""Whose judgments count: flags and what people decided about them in, who is to be reviewed and who is left out.

A flagged annotator's judgments are left out until somebody has reviewed them (the protocol), and afterwards if the
review says so. A flag of a kind that the review did not see asks for another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from preference.records import Review
from qc_reports.annotators.flag import Flag


@dataclass(frozen=True)
class Standing:
    """How the annotators of one batch stand."""

    pending: list[str] = field(default_factory=list)
    """Flagged and not reviewed; left out until then."""
    kept: list[Review] = field(default_factory=list)
    """Flagged, reviewed, and found good."""
    dropped: list[Review] = field(default_factory=list)
    """Reviewed, and left out for good."""

    @property
    def left_out(self) -> frozenset[str]:
        """Whose judgments do not count at present."""
        return frozenset([*self.pending, *(review.annotator_id for review in self.dropped)])


def standing(flags: Iterable[Flag], reviews: Iterable[Review]) -> Standing:
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
    return Standing(sorted(kinds.keys() - settled), kept, dropped)


def sentences(where: Standing) -> list[str]:
    """What was decided, one sentence a person."""
    return [
        f"{review.annotator_id} was reviewed by {review.by} on {review.at[:10]}: {words} ({review.why})."
        for group, words in ((where.kept, "the judgments count"), (where.dropped, "the judgments are left out"))
        for review in group
    ]


def kinds_of(flags: Sequence[Flag], annotator_id: str) -> list[str]:
    """The kinds of one annotator's flags, sorted."""
    return sorted({flag.kind for flag in flags if flag.annotator_id == annotator_id})


def by_batch(reviews: Iterable[Review]) -> Mapping[str, list[Review]]:
    """Batch → its reviews."""
    found: dict[str, list[Review]] = {}
    for review in reviews:
        found.setdefault(review.batch_id, []).append(review)
    return found
