"""Records into the database and out again.

Every write is one transaction and can be repeated: writing the same records twice changes nothing. `nan` is stored
as NULL and comes back as `nan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from preference.records import (
    SKIPPED,
    Annotator,
    Assignment,
    Batch,
    BatchStatus,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Record,
    Rejection,
    Review,
    Trajectory,
)
from preference.store import tables as t
from preference.store.counting import Counts
from preference.store.database import connect, translated

R = TypeVar("R", bound=Record)
V = TypeVar("V")


@dataclass(frozen=True)
class AssignmentView:
    """An assignment with its pair: what mapping an answer back, or showing a task, needs."""

    assignment: Assignment
    pair: Pair


class Store(Counts):
    """One database; cheap to hold, safe to share between threads.

    Use `Store.open(url)`, which also brings the tables up to date.
    """

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._upserts: dict[tuple[str, bool], sa.Insert] = {}

    @classmethod
    def open(cls, url: str, *, patience_s: float = 30.0) -> Store:
        """Connect, and create or migrate the tables.

        Args:
            patience_s: How long a write waits for others before it is a StoreError.

        Raises:
            StoreError: the URL is wrong, the server is away, or the tables are newer than this Robopref.
        """
        from preference.store.migrate import upgrade

        engine = connect(url, patience_s)
        with translated(engine):
            upgrade(engine)
        return cls(engine)

    # -- writing ---------------------------------------------------------------------------------------------------

    def put_trajectories(self, records: Iterable[Trajectory]) -> None:
        self._upsert(t.trajectories, records)

    def put_annotators(self, records: Iterable[Annotator]) -> None:
        self._upsert(t.annotators, records)

    def put_pairs(self, batch: Batch, pairs: Iterable[Pair], assignments: Iterable[Assignment]) -> None:
        """A batch with its pairs and assignments, all or nothing; pairs already there stay as they are."""
        with self._transaction() as connection:
            newest = connection.execute(sa.select(sa.func.max(t.batches.c.created_at))).scalar_one()
            batch = replace(batch, created_at=_not_before(newest or "", batch.created_at))
            self._upsert(t.batches, [batch], connection, keep_existing=True)
            self._upsert(t.pairs, pairs, connection, keep_existing=True)
            # originals first: a duplicate refers to its original
            ordered = sorted(assignments, key=lambda a: (a.duplicate_of is not None, a.position))
            self._upsert(t.assignments, ordered, connection, keep_existing=True)

    def put_expert_answers(self, pairs: Iterable[Pair]) -> None:
        """What the expert said of calibration pairs: `expected` and `reasoning`."""
        with self._transaction() as connection:
            for pair in pairs:
                connection.execute(
                    t.pairs.update()
                    .where(t.pairs.c.pair_id == pair.pair_id)
                    .values(expected=pair.expected, reasoning=pair.reasoning, dimension=pair.dimension)
                )

    def set_tasks(self, tasks: Iterable[tuple[str, int | None, int | None]]) -> None:
        """`(assignment_id, project_id, task_id)` of tasks that now exist in Label Studio, or of those that are gone."""
        rows = [{"key": a, "project_id": p, "task_id": k} for a, p, k in tasks]
        if not rows:
            return
        with self._transaction() as connection:
            connection.execute(t.assignments.update().where(t.assignments.c.assignment_id == sa.bindparam("key")), rows)

    def detach(self, assignment_ids: Iterable[str]) -> None:
        """These answered assignments have no task in Label Studio any more; the answers stay.

        Its numbers for tasks and annotations become negative: on SQLite, Label Studio gives the same ones out again.
        """
        with self._transaction() as connection:
            for key in assignment_ids:
                chosen = t.assignments.c.assignment_id == key
                task = connection.execute(sa.select(t.assignments.c.task_id).where(chosen)).scalar_one()
                connection.execute(t.assignments.update().where(chosen).values(project_id=None, task_id=-task))
                for table in (t.judgments, t.rejected):
                    turned = {"task_id": -table.c.task_id, "annotation_id": -table.c.annotation_id}
                    connection.execute(table.update().where(table.c.task_id == task).values(turned))

    def put_judgments(self, judgments: Iterable[Judgment], rejections: Iterable[Rejection] = ()) -> int:
        """Store answers and refusals; the newest annotation of an assignment wins. Returns how many are new."""
        judgments, rejections = list(judgments), list(rejections)
        if not (judgments or rejections):
            return 0
        with self._transaction() as connection:
            keys = {j.assignment_id for j in judgments}
            key = t.judgments.c.assignment_id
            known = {k for chunk in _chunks(keys) for k in connection.scalars(sa.select(key).where(key.in_(chunk)))}
            self._upsert(t.judgments, judgments, connection)
            self._upsert(t.rejected, rejections, connection)
        return len(keys - known)

    def delete_judgments(self, annotation_ids: Sequence[int]) -> None:
        """Forget answers whose annotations were deleted in Label Studio, or are about to be written anew."""
        if not annotation_ids:
            return
        with self._transaction() as connection:
            connection.execute(t.judgments.delete().where(t.judgments.c.annotation_id.in_(annotation_ids)))
            connection.execute(t.rejected.delete().where(t.rejected.c.annotation_id.in_(annotation_ids)))

    def put_certification(self, record: Certification) -> None:
        self._upsert(t.certifications, [record])

    def set_batch_status(self, batch_id: str, status: BatchStatus, reasons: Sequence[str]) -> None:
        with self._transaction() as connection:
            connection.execute(
                t.batches.update().where(t.batches.c.batch_id == batch_id).values(status=status, reasons=list(reasons))
            )

    def put_decision(self, batch_id: str, decision: dict[str, str]) -> None:
        """One more decision of a person about a batch; it is the one that holds."""
        chosen = t.batches.c.batch_id == batch_id
        with self._transaction() as connection:
            known = connection.execute(sa.select(t.batches.c.decisions).where(chosen)).scalar_one()
            connection.execute(t.batches.update().where(chosen).values(decisions=[*known, decision]))

    def put_review(self, record: Review) -> None:
        self._upsert(t.reviews, [record])

    def put_model_version(self, record: ModelVersion) -> None:
        """Store a version; when it is active, it is the only active one."""
        with self._transaction() as connection:
            if record.active:
                connection.execute(t.model_versions.update().values(active=False))
            self._upsert(t.model_versions, [record], connection)

    # -- reading ---------------------------------------------------------------------------------------------------

    def trajectories(self) -> list[Trajectory]:
        return self._read(Trajectory, sa.select(t.trajectories).order_by(t.trajectories.c.trajectory_id))

    def batches(self) -> list[Batch]:
        return self._read(Batch, sa.select(t.batches).order_by(t.batches.c.created_at, t.batches.c.batch_id))

    def pairs(self, batch_id: str | None = None) -> list[Pair]:
        query = sa.select(t.pairs).order_by(t.pairs.c.pair_id)
        if batch_id is not None:
            query = query.where(t.pairs.c.batch_id == batch_id)
        return self._read(Pair, query)

    def annotators(self) -> list[Annotator]:
        return self._read(Annotator, sa.select(t.annotators).order_by(t.annotators.c.annotator_id))

    def assignments(self, batch_id: str | None = None, *, without_task: bool = False) -> list[AssignmentView]:
        """Assignments with their pairs, in each annotator's order."""
        query = sa.select(t.assignments, *_prefixed(t.pairs)).join(
            t.pairs, t.pairs.c.pair_id == t.assignments.c.pair_id
        )
        if batch_id is not None:
            query = query.where(t.assignments.c.batch_id == batch_id)
        if without_task:
            query = query.where(t.assignments.c.task_id.is_(None))
        order = (t.assignments.c.annotator_id, t.assignments.c.batch_id, t.assignments.c.position)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(*order)).mappings().all()
        return [
            AssignmentView(
                Assignment.from_dict(dict(row)),
                Pair.from_dict({k.removeprefix("pair__"): v for k, v in row.items() if k.startswith("pair__")}),
            )
            for row in rows
        ]

    def judgments(self, batch_id: str | None = None) -> list[Judgment]:
        query = (
            sa.select(t.judgments, t.assignments.c.annotator_id, t.assignments.c.pair_id)
            .join(t.assignments, t.assignments.c.assignment_id == t.judgments.c.assignment_id)
            .order_by(t.judgments.c.created_at, t.judgments.c.assignment_id)
        )
        if batch_id is not None:
            query = query.where(t.assignments.c.batch_id == batch_id)
        return self._read(Judgment, query)

    def responses(self) -> list[dict[str, Any]]:
        """The view `responses`: one row per judgment with the protocol's eight columns, by pair and annotator."""
        query = sa.text("SELECT * FROM responses ORDER BY pair_id, annotator_id, response_time_ms")
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def tasks(self) -> list[tuple[str, str, int, int]]:
        """`(annotator_id, batch_id, project_id, task_id)` of every task that should be in Label Studio."""
        c = t.assignments.c
        query = sa.select(c.annotator_id, c.batch_id, c.project_id, c.task_id).where(c.task_id > 0)
        with self._reading() as connection:
            return [(row.annotator_id, row.batch_id, row.project_id, row.task_id) for row in connection.execute(query)]

    def assignments_of_tasks(self, tasks: Iterable[int]) -> dict[int, Assignment]:
        """Label Studio's task id → its assignment, of those of `tasks` that are ours."""
        rows = [row for chunk in _chunks(tasks) for row in self._rows_in(t.assignments, "task_id", chunk)]
        return {row["task_id"]: Assignment.from_dict(row) for row in rows}

    def lock_tasks(self, tasks: Iterable[int]) -> None:
        """Inside `together`: let nobody else settle these tasks until it ends."""
        if self.engine.dialect.name == "sqlite":
            return  # nobody else can write anyway
        c = t.assignments.c
        with self._transaction() as connection:
            for chunk in _chunks(sorted(tasks)):
                query = sa.select(c.assignment_id).where(c.task_id.in_(chunk)).order_by(c.task_id).with_for_update()
                connection.execute(query).all()

    def annotation_rows(
        self, column: Literal["task_id", "annotation_id"], values: Iterable[int]
    ) -> list[dict[str, Any]]:
        """Rows of `judgments` and of `rejected` for a few tasks or annotations, with the raw JSON of each."""
        return [
            row
            for chunk in _chunks(values)
            for table in (t.judgments, t.rejected)
            for row in self._rows_in(table, column, chunk)
        ]

    def count_annotations(self, tasks: Iterable[int]) -> int:
        """How many annotations of these tasks there are, rejected ones too."""
        count = sa.select(sa.func.count())
        with self._reading() as connection:
            return sum(
                connection.execute(count.select_from(table).where(table.c.task_id.in_(chunk))).scalar_one()
                for chunk in _chunks(tasks)
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
        with self._reading() as connection:
            return {row.assignment_id: row.reason[len(SKIPPED) :].lstrip(": ") for row in connection.execute(query)}

    def certifications(self) -> list[Certification]:
        order = (t.certifications.c.annotator_id, t.certifications.c.attempt)
        return self._read(Certification, sa.select(t.certifications).order_by(*order))

    def certified(self) -> list[str]:
        """Ids of the active annotators whose latest attempt passed, sorted."""
        latest = {record.annotator_id: record.certified for record in self.certifications()}
        return sorted(a.annotator_id for a in self.annotators() if a.active and latest.get(a.annotator_id))

    def reviews(self) -> list[Review]:
        return self._read(Review, sa.select(t.reviews).order_by(t.reviews.c.batch_id, t.reviews.c.annotator_id))

    def model_versions(self) -> list[ModelVersion]:
        """In the order in which they were made: by their number, which no clock that is set back can change."""
        version = t.model_versions.c.version
        return self._read(ModelVersion, sa.select(t.model_versions).order_by(sa.func.length(version), version))

    def active_model(self) -> ModelVersion | None:
        return next(iter(self._read(ModelVersion, sa.select(t.model_versions).where(t.model_versions.c.active))), None)

    # -- the engine room -------------------------------------------------------------------------------------------

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

    def _upsert(
        self,
        table: sa.Table,
        records: Iterable[Record],
        connection: sa.Connection | None = None,
        *,
        keep_existing: bool = False,
    ) -> None:
        names = [column.name for column in table.columns]
        rows = [_row(record, names) for record in records]
        if not rows:
            return
        if connection is None:
            with self._transaction() as own:
                self._upsert_rows(table, rows, own, keep_existing)
        else:
            self._upsert_rows(table, rows, connection, keep_existing)

    def _upsert_rows(
        self, table: sa.Table, rows: list[dict[str, Any]], connection: sa.Connection, keep_existing: bool
    ) -> None:
        key = (table.name, keep_existing)
        if key not in self._upserts:  # composing it takes longer than executing it
            self._upserts[key] = self._upsert_into(table, keep_existing)
        connection.execute(self._upserts[key], rows)

    def _upsert_into(self, table: sa.Table, keep_existing: bool) -> sa.Insert:
        statement = self._insert(table)
        keys = [column.name for column in table.primary_key]
        if keep_existing:
            return statement.on_conflict_do_nothing(index_elements=keys)
        new = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
        return statement.on_conflict_do_update(index_elements=keys, set_=new)


def _chunks(values: Iterable[V]) -> Iterator[list[V]]:
    """At most 500 at a time: well under the number of parameters that any database takes."""
    remaining = iter(values)
    while chunk := list(islice(remaining, 500)):
        yield chunk


def _not_before(newest: str, stamp: str) -> str:
    """`stamp`, or a second after `newest` where the clock was set back since: batches are in the order of stamps."""
    if stamp and stamp < newest:
        try:
            return (datetime.fromisoformat(newest) + timedelta(seconds=1)).isoformat(timespec="seconds")
        except ValueError:
            return stamp
    return stamp


def _row(record: Record, names: Sequence[str]) -> dict[str, Any]:
    values = record.to_dict()
    return {k: None if isinstance(values[k], float) and math.isnan(values[k]) else values[k] for k in names}


def _prefixed(table: sa.Table) -> list[sa.Label[Any]]:
    return [column.label(f"pair__{column.name}") for column in table.columns]
