"""Records out of the database. `nan` is stored as NULL and comes back as `nan`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, TypeVar

import sqlalchemy as sa

from preference.errors import NotReady
from preference.records import (
    CALIBRATION,
    GO_ON,
    SETTLED,
    SKIPPED,
    STOP,
    TRAIN,
    Activity,
    Annotator,
    Assignment,
    AssignmentView,
    Batch,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Preference,
    Record,
    Rejection,
    Request,
    Resolution,
    Review,
    Trajectory,
    Verdict,
)
from preference.store import tables as t
from preference.store.counting import ASKED, Counts

R = TypeVar("R", bound=Record)
V = TypeVar("V")


class Reader(Counts):
    """Everything that a store can be asked."""

    def trajectories(self) -> list[Trajectory]:
        return self._read(Trajectory, sa.select(t.trajectories).order_by(t.trajectories.c.trajectory_id))

    def batches(self, *, calibration: bool = True) -> list[Batch]:
        """In the order in which they were made; without `calibration`, those that ask for labels."""
        query = sa.select(t.batches).order_by(t.batches.c.created_at, t.batches.c.batch_id)
        return self._read(Batch, query if calibration else query.where(t.batches.c.kind != CALIBRATION))

    def experts(self) -> set[str]:
        """Ids of everybody who is or was the expert."""
        return {annotator.annotator_id for annotator in self.annotators() if annotator.role == "expert"}

    def calibration_sets(self) -> list[str]:
        """Ids of the batches that teach, test or adjudicate instead of asking for labels, in the order of `batches`."""
        return [batch.batch_id for batch in self.batches() if batch.kind == CALIBRATION]

    def pairs(self, batch_id: str | None = None, *, calibration: bool = True) -> list[Pair]:
        """By id; without `calibration`, those that are asked for a label."""
        query = sa.select(t.pairs).order_by(t.pairs.c.pair_id)
        if batch_id is not None:
            query = query.where(t.pairs.c.batch_id == batch_id)
        return self._read(Pair, query if calibration else query.where(t.pairs.c.kind != CALIBRATION))

    def annotators(self) -> list[Annotator]:
        return self._read(Annotator, sa.select(t.annotators).order_by(t.annotators.c.annotator_id))

    def assignments(self, batch_id: str | None = None, *, calibration: bool = True) -> list[AssignmentView]:
        """Assignments with their pairs, in each annotator's order; without `calibration`, those that ask for labels."""
        of_batch = sa.true() if batch_id is None else t.assignments.c.batch_id == batch_id
        return self._views(of_batch, sa.true() if calibration else t.pairs.c.kind != CALIBRATION)

    def views_of(self, assignment_ids: Iterable[str]) -> dict[str, AssignmentView]:
        """These assignments with their pairs, by id."""
        key = t.assignments.c.assignment_id
        found = [view for chunk in chunks(assignment_ids) for view in self._views(key.in_(chunk))]
        return {view.assignment.assignment_id: view for view in found}

    def _views(self, *where: sa.ColumnElement[bool]) -> list[AssignmentView]:
        order = (t.assignments.c.annotator_id, t.assignments.c.batch_id, t.assignments.c.position)
        joined = t.assignments.join(t.pairs, t.pairs.c.pair_id == t.assignments.c.pair_id)
        query = sa.select(t.assignments, *_prefixed(t.pairs)).select_from(joined).where(*where)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(*order)).mappings().all()
        return [
            AssignmentView(
                Assignment.from_dict(dict(row)),
                Pair.from_dict({k.removeprefix("pair__"): v for k, v in row.items() if k.startswith("pair__")}),
            )
            for row in rows
        ]

    def latest_judgments(self, annotator_id: str, count: int) -> list[Judgment]:
        """Somebody's last answers, the newest first."""
        order = (t.judgments.c.created_at.desc(), t.judgments.c.assignment_id)
        own = _judgments().where(t.assignments.c.annotator_id == annotator_id)
        return self._read(Judgment, own.order_by(*order).limit(count))

    def judgments_on(self, pair_ids: Iterable[str]) -> list[Judgment]:
        """Everybody's answers to these pairs; the first showing of each."""
        first = _judgments().where(t.assignments.c.duplicate_of.is_(None))
        pair = t.assignments.c.pair_id
        return [row for chunk in chunks(pair_ids) for row in self._read(Judgment, first.where(pair.in_(chunk)))]

    def judgments(self, batch_id: str | None = None) -> list[Judgment]:
        query = _judgments().order_by(t.judgments.c.created_at, t.judgments.c.assignment_id)
        if batch_id is not None:
            query = query.where(t.assignments.c.batch_id == batch_id)
        return self._read(Judgment, query)

    def tasks(self) -> list[tuple[str, str, int, int]]:
        """`(annotator_id, batch_id, project_id, task_id)` of every task that should be in Label Studio."""
        c = t.assignments.c
        query = sa.select(c.annotator_id, c.batch_id, c.project_id, c.task_id).where(c.task_id > 0)
        return self._rows(query)

    def obsolete_tasks(self) -> dict[int, list[int]]:
        """Label Studio's project → its tasks whose assignments went to others."""
        c, found = t.obsolete_tasks.c, {}
        for project_id, task_id in self._rows(sa.select(c.project_id, c.task_id).order_by(c.task_id)):
            found.setdefault(project_id, []).append(task_id)
        return found

    def assignments_of_tasks(self, tasks: Iterable[int]) -> dict[int, Assignment]:
        """Label Studio's task id → its assignment, of those of `tasks` that are ours."""
        rows = [row for chunk in chunks(tasks) for row in self._rows_in(t.assignments, "task_id", chunk)]
        return {row["task_id"]: Assignment.from_dict(row) for row in rows}

    def annotation_rows(
        self, column: Literal["task_id", "annotation_id"], values: Iterable[int]
    ) -> list[dict[str, Any]]:
        """Rows of `judgments` and of `rejected` for a few tasks or annotations, with the raw JSON of each."""
        return [
            row
            for chunk in chunks(values)
            for table in (t.judgments, t.rejected)
            for row in self._rows_in(table, column, chunk)
        ]

    def annotation_stamps(self, tasks: Iterable[int]) -> dict[int, str]:
        """Annotation id → when its version that we know was last changed, of these tasks, rejected ones too."""
        with self._reading() as connection:
            return {
                row[0]: row[1]
                for chunk in chunks(tasks)
                for table in (t.judgments, t.rejected)
                for row in connection.execute(_stamps(table).where(table.c.task_id.in_(chunk)))
            }

    def finished(self, annotator_id: str, batch_id: str, part: int) -> bool:
        """Whether this annotator has answered this part of the batch and those before it; later ones do not matter."""
        a, j = t.assignments.c, t.judgments.c
        counts = sa.select(sa.func.count(), sa.func.count(j.assignment_id)).select_from(ASKED)
        own = counts.where(a.annotator_id == annotator_id, a.batch_id == batch_id, a.part <= part)
        ((asked, done),) = self._rows(own)
        return asked == done > 0

    def count_annotations(self, tasks: Iterable[int]) -> int:
        """How many annotations of these tasks there are, rejected ones too."""
        count = sa.select(sa.func.count())
        with self._reading() as connection:
            return sum(
                connection.execute(count.select_from(table).where(table.c.task_id.in_(chunk))).scalar_one()
                for chunk in chunks(tasks)
                for table in (t.judgments, t.rejected)
            )

    def rejections(self) -> list[Rejection]:
        return self._read(Rejection, sa.select(t.rejected).order_by(t.rejected.c.annotation_id))

    def skipped(self) -> dict[str, str]:
        """Assignment → why it was skipped, empty where nothing is known; those without an answer only."""
        joined = t.assignments.join(t.rejected, t.rejected.c.task_id == t.assignments.c.task_id)
        query = (
            sa.select(t.assignments.c.assignment_id, t.rejected.c.reason)
            .select_from(joined.outerjoin(t.judgments, t.judgments.c.assignment_id == t.assignments.c.assignment_id))
            .where(t.rejected.c.reason.startswith(SKIPPED), t.judgments.c.assignment_id.is_(None))
        )
        return {assignment: reason[len(SKIPPED) :].lstrip(": ") for assignment, reason in self._rows(query)}

    def settled(self) -> set[str]:
        """Assignments of trainings that were closed unasked."""
        joined = t.assignments.join(t.rejected, t.rejected.c.task_id == t.assignments.c.task_id)
        query = sa.select(t.assignments.c.assignment_id).select_from(joined).where(t.rejected.c.reason == SETTLED)
        return {assignment for (assignment,) in self._rows(query)}

    def certifications(self) -> list[Certification]:
        order = (t.certifications.c.annotator_id, t.certifications.c.attempt)
        return self._read(Certification, sa.select(t.certifications).order_by(*order))

    def latest_certifications(self) -> dict[str, Certification]:
        """Annotator → their latest attempt."""
        return {record.annotator_id: record for record in self.certifications()}

    def certified(self) -> list[str]:
        """Ids of the active annotators whose latest attempt passed, sorted."""
        passed = {name for name, record in self.latest_certifications().items() if record.certified}
        return sorted(a.annotator_id for a in self.annotators() if a.active and a.annotator_id in passed)

    def verdicts(self) -> dict[str, Verdict]:
        """Batch → the answers that it was accepted for."""
        return {found.batch_id: found for found in self._read(Verdict, sa.select(t.verdicts))}

    def reviews(self) -> list[Review]:
        return self._read(Review, sa.select(t.reviews).order_by(t.reviews.c.batch_id, t.reviews.c.annotator_id))

    def left_out(self) -> set[tuple[str, str]]:
        """(batch, annotator) whose judgments a review left out."""
        return {(r.batch_id, r.annotator_id) for r in self.reviews() if r.verdict == "leave_out"}

    def model_versions(self) -> list[ModelVersion]:
        """In the order in which they were made: by their number, which no clock that is set back can change."""
        version = t.model_versions.c.version
        return self._read(ModelVersion, sa.select(t.model_versions).order_by(sa.func.length(version), version))

    def active_model(self) -> ModelVersion | None:
        return next(iter(self._read(ModelVersion, sa.select(t.model_versions).where(t.model_versions.c.active))), None)

    def preferences(self) -> list[Preference]:
        """The resolved label of every pair that is asked for one, by pair.

        Raises:
            NotReady: nothing has been resolved yet.
        """
        self.resolution()
        query = (
            sa.select(t.preferences, t.pairs.c.trajectory_a_id, t.pairs.c.trajectory_b_id)
            .join(t.pairs, t.pairs.c.pair_id == t.preferences.c.pair_id)
            .order_by(t.preferences.c.pair_id)
        )
        found = self._read(Preference, query)
        return [replace(p, preference=None) if math.isnan(p.preference or 0.0) else p for p in found]

    def labelled(self) -> list[Preference]:
        """Those of `preferences` that have a label."""
        return [p for p in self.preferences() if p.preference is not None]

    def resolution(self) -> Resolution:
        """What the newest resolution did.

        Raises:
            NotReady: nothing has been resolved yet.
        """
        for found in self._read(Resolution, sa.select(t.resolution)):
            return found
        raise NotReady("Nothing has been resolved yet.", fix="Run `robopref resolve` first.")

    def resolved(self) -> bool:
        """Whether anything has been resolved."""
        return self._count(t.resolution) > 0

    def training_request(self) -> int | None:
        """The newest request for training that no training has met; None where nobody asks for one."""
        c = t.requests.c
        query = sa.select(sa.func.max(c.request_id)).where(c.kind == TRAIN, c.state == "waiting")
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def requests(self, *, unfinished: bool = False, newest: int | None = None) -> list[Request]:
        """What managers asked for, the latest first.

        Args:
            unfinished: Only what waits or is under way.
            newest: Only so many.
        """
        query = sa.select(t.requests).order_by(t.requests.c.request_id.desc()).limit(newest)
        if unfinished:
            query = query.where(t.requests.c.state.in_(("waiting", "running")))
        return self._read(Request, query)

    def next_request(self) -> Request | None:
        """What the worker does next: what a killed worker left, then the oldest; trainings are counted otherwise."""
        c = t.requests.c
        query = sa.select(t.requests).where(c.kind != TRAIN, c.state.in_(("waiting", "running")))
        return next(iter(self._read(Request, query.order_by(c.state, c.request_id).limit(1))), None)

    def pressed(self, press: str) -> Request | None:
        """The request that this very form made; None where it made none."""
        return next(iter(self._read(Request, sa.select(t.requests).where(t.requests.c.press == press))), None)

    def stopped_rounds(self) -> Request | None:
        """Who stopped the rounds that the worker makes by itself; None where they go on."""
        query = sa.select(t.requests).where(t.requests.c.kind.in_((STOP, GO_ON)), t.requests.c.state == "done")
        last = self._read(Request, query.order_by(t.requests.c.request_id.desc()).limit(1))
        return last[0] if last and last[0].kind == STOP else None

    def activity(self) -> Activity | None:
        """What the worker is doing; None where it waits."""
        return next(iter(self._read(Activity, sa.select(t.activity))), None)

    def _rows_in(self, table: sa.Table, column: str, values: Sequence[int]) -> list[dict[str, Any]]:
        with self._reading() as connection:
            found = connection.execute(sa.select(table).where(table.c[column].in_(values))).mappings()
            return [dict(row) for row in found]

    def _read(self, record: type[R], query: sa.Select[Any]) -> list[R]:
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        floats = {c.name for c in query.selected_columns if isinstance(c.type, sa.Float)}
        return [
            record.from_dict({k: math.nan if v is None and k in floats else v for k, v in row.items()}) for row in rows
        ]


def chunks(values: Iterable[V]) -> Iterator[list[V]]:
    """At most 500 at a time: well under the number of parameters that any database takes."""
    remaining = iter(values)
    while chunk := list(islice(remaining, 500)):
        yield chunk


def _judgments() -> sa.Select[Any]:
    return sa.select(t.judgments, t.assignments.c.annotator_id, t.assignments.c.pair_id).join(
        t.assignments, t.assignments.c.assignment_id == t.judgments.c.assignment_id
    )


def _stamps(table: sa.Table) -> sa.Select[int, str]:
    raw = table.c.raw
    stamp = sa.func.coalesce(raw["updated_at"].as_string(), raw["created_at"].as_string(), "")
    return sa.select(table.c.annotation_id, stamp)


def _prefixed(table: sa.Table) -> list[sa.Label[Any]]:
    return [column.label(f"pair__{column.name}") for column in table.columns]
