"""How much there is, counted by the database: what a page, a scrape or a look every few seconds may ask for.

Nothing here loads a judgment; with 100,000 of them each answer still takes well under a second.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from preference.records import CALIBRATION, SETTLED, SKIPPED
from preference.store import tables as t
from preference.store.database import Database

ANSWERED = t.judgments.join(t.assignments, t.assignments.c.assignment_id == t.judgments.c.assignment_id)
"""A row for each judgment."""
ASKED = t.assignments.outerjoin(t.judgments, t.judgments.c.assignment_id == t.assignments.c.assignment_id)
"""A row for each assignment, without a judgment if there is none."""
OWED = ASKED.join(t.pairs, t.pairs.c.pair_id == t.assignments.c.pair_id).join(
    t.annotators, t.annotators.c.annotator_id == t.assignments.c.annotator_id
)


class Counts(Database):
    """Counting queries of a store."""

    def count_assignments(self) -> int:
        return self._count(t.assignments)

    def count_judgments(self) -> int:
        return self._count(t.judgments)

    def count_rejections(self, *, closed: bool = True) -> int:
        """
        Args:
            closed: Count the pairs of a training that need no answer any more as well.
        """
        return self._count(t.rejected, *([] if closed else [t.rejected.c.reason != SETTLED]))

    def answered(self) -> set[str]:
        """Ids of the assignments with a judgment."""
        with self._reading() as connection:
            return set(connection.scalars(sa.select(t.judgments.c.assignment_id)))

    def open_by_batch(self) -> dict[str, int]:
        """Batch → assignments that still wait for an answer; calibration aside, and only batches with some.

        A pair that its annotator skipped is not waited for, nor is somebody who is away or whom a review left out of
        the batch.
        """
        a, j, r = t.assignments.c, t.judgments.c, t.rejected.c
        skipped = sa.exists().where(r.task_id == a.task_id, r.reason.startswith(SKIPPED))
        v = t.reviews.c
        gone = sa.exists().where(v.batch_id == a.batch_id, v.annotator_id == a.annotator_id, v.verdict == "leave_out")
        query = (
            sa.select(a.batch_id, sa.func.count())
            .select_from(OWED)
            .where(t.annotators.c.active, t.pairs.c.kind != CALIBRATION, j.assignment_id.is_(None), ~skipped, ~gone)
            .group_by(a.batch_id)
            .order_by(a.batch_id)
        )
        return dict(self._rows(query))

    def progress_by_annotator(self) -> list[tuple[str, str, int, int]]:
        """`(annotator_id, batch_id, answered, open)` of everybody active; whoever skipped a pair of a batch has done
        with it, but calibration is to be answered whole, except what a training closed by itself."""
        a, j, r = t.assignments.c, t.judgments.c, t.rejected.c
        skipped = sa.exists().where(r.task_id == a.task_id, r.reason.startswith(SKIPPED))
        settled = sa.exists().where(r.task_id == a.task_id, r.reason == SETTLED)
        done = sa.or_(settled, sa.and_(skipped, t.pairs.c.kind != CALIBRATION))
        waits = sa.case((j.assignment_id.is_not(None), 0), (done, 0), else_=1)
        query = (
            sa.select(a.annotator_id, a.batch_id, sa.func.count(j.assignment_id), sa.func.sum(waits))
            .select_from(OWED)
            .where(t.annotators.c.active)
            .group_by(a.annotator_id, a.batch_id)
            .order_by(a.annotator_id, a.batch_id)
        )
        return [(name, batch, answered, int(waiting)) for name, batch, answered, waiting in self._rows(query)]

    def latest_answers(self, count: int) -> list[tuple[str, str]]:
        """`(annotator_id, created_at)` of the latest answers, calibration aside, the newest first."""
        a, j = t.assignments.c, t.judgments.c
        query = sa.select(a.annotator_id, j.created_at).select_from(ANSWERED.join(t.pairs))
        return self._rows(query.where(t.pairs.c.kind != CALIBRATION).order_by(j.created_at.desc()).limit(count))

    def answers_by_annotator(self) -> list[tuple[str, str, int]]:
        """`(annotator_id, batch_id, answers)` of everybody, active or not."""
        a = t.assignments.c
        query = sa.select(a.annotator_id, a.batch_id, sa.func.count()).select_from(ANSWERED)
        return self._rows(query.group_by(a.annotator_id, a.batch_id).order_by(a.annotator_id, a.batch_id))

    def last_answers(self) -> dict[str, str]:
        """Annotator → when their latest answer was given, calibration counted too."""
        a, j = t.assignments.c, t.judgments.c
        query = sa.select(a.annotator_id, sa.func.max(j.created_at)).select_from(ANSWERED)
        return dict(self._rows(query.group_by(a.annotator_id)))

    def count_without_task(self) -> int:
        """Assignments that were planned and are not in Label Studio yet; nobody pushes to somebody who is away."""
        who = t.annotators.c
        joined = t.assignments.join(t.annotators, who.annotator_id == t.assignments.c.annotator_id)
        query = sa.select(sa.func.count()).select_from(joined).where(t.assignments.c.task_id.is_(None), who.active)
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def open_projects(self) -> list[int]:
        """Label Studio's projects in which somebody still has something to answer."""
        a, j = t.assignments.c, t.judgments.c
        query = sa.select(a.project_id).select_from(ASKED).where(j.assignment_id.is_(None), a.task_id > 0).distinct()
        return sorted(project for (project,) in self._rows(query) if project is not None)

    def progress_by_batch(self) -> dict[str, tuple[int, int]]:
        """Batch → assignments with a judgment, and all of them."""
        a, j = t.assignments.c, t.judgments.c
        query = sa.select(a.batch_id, sa.func.count(j.assignment_id), sa.func.count()).select_from(ASKED)
        return {batch: (done, asked) for batch, done, asked in self._rows(query.group_by(a.batch_id))}

    def answer_times(self) -> list[tuple[str, str]]:
        """`(annotator_id, created_at)` of every answer, calibration aside."""
        a, j = t.assignments.c, t.judgments.c
        query = sa.select(a.annotator_id, j.created_at).select_from(ANSWERED.join(t.batches))
        return self._rows(query.where(t.batches.c.kind != CALIBRATION))

    def pulse(self) -> str:
        """A short text that changes whenever answers, assignments, batches or reviews do: what was made from them can
        be kept until then."""
        tables = [table for table in t.metadata.sorted_tables if table not in (t.requests, t.activity)]
        counts = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in tables]
        j, b = t.judgments.c, t.batches.c
        said = sa.case((j.preference == "A", 1), (j.preference == "B", 2), else_=4)
        changing = (j.confidence, j.response_time_ms, said, sa.func.length(j.free_text_reason), j.annotation_id)
        sums = [sa.select(sa.func.coalesce(sa.func.sum(part), 0)).scalar_subquery() for part in changing]
        latest = sa.select(sa.func.max(j.created_at)).scalar_subquery()
        with self._reading() as connection:
            row = connection.execute(sa.select(*counts, *sums, latest)).one()
            batches = connection.execute(sa.select(b.batch_id, b.status, b.reasons).order_by(b.batch_id)).all()
        return repr((tuple(row), batches))

    def _rows(self, query: sa.Executable) -> list[Any]:
        with self._reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def _count(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        with self._reading() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()
