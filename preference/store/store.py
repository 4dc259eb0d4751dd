"""Records into the database and out again.

Every write is one transaction and can be repeated: writing the same records twice changes nothing. `nan` is stored
as NULL and comes back as `nan`.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from preference.formats import now
from preference.records import (
    TRAIN,
    Activity,
    Annotator,
    Assignment,
    Batch,
    BatchStatus,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Preference,
    Record,
    Rejection,
    RequestState,
    Resolution,
    Review,
    Trajectory,
    Verdict,
)
from preference.store import tables as t
from preference.store.database import connect, translated
from preference.store.reading import Reader, chunks


class Store(Reader):
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
            ordered = [replace(a, given_at=a.given_at or now()) for a in ordered]
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

    def reassign(self, moves: Iterable[tuple[str, str, int]], dropped: Iterable[str]) -> None:
        """Unanswered assignments go to others, to be pushed anew, or are given up; their tasks become obsolete.

        Args:
            moves: `(assignment_id, annotator_id, position)`.
            dropped: Assignments.
        """
        c, moves, dropped = t.assignments.c, list(moves), list(dropped)
        with self._transaction() as connection:
            for chunk in chunks([*(key for key, _, _ in moves), *dropped]):
                tasks = sa.select(c.task_id, c.project_id).where(c.assignment_id.in_(chunk), c.task_id > 0)
                insert = self._insert(t.obsolete_tasks).from_select(["task_id", "project_id"], tasks)
                connection.execute(insert.on_conflict_do_nothing(index_elements=["task_id"]))
            for assignment_id, annotator_id, position in moves:
                values = {"annotator_id": annotator_id, "position": position, "project_id": None, "task_id": None,
                          "given_at": now()}  # fmt: skip
                connection.execute(t.assignments.update().where(c.assignment_id == assignment_id).values(values))
            for chunk in chunks(dropped):
                connection.execute(t.assignments.delete().where(c.assignment_id.in_(chunk)))

    def tasks_deleted(self, task_ids: Sequence[int]) -> None:
        """These obsolete tasks are gone from Label Studio."""
        with self._transaction() as connection:
            for chunk in chunks(task_ids):
                connection.execute(t.obsolete_tasks.delete().where(t.obsolete_tasks.c.task_id.in_(chunk)))

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
            known = {k for chunk in chunks(keys) for k in connection.scalars(sa.select(key).where(key.in_(chunk)))}
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

    def salt(self) -> int:
        """This project's own secret number of 128 bits."""
        return self.secret("salt")

    def secret(self, name: str) -> int:
        """A number of 128 bits for this purpose; drawn at its first use, by whichever process comes first."""
        c = t.secrets.c
        with self._transaction() as connection:
            drawn = self._insert(t.secrets).values(name=name, value=str(secrets.randbits(128)))
            connection.execute(drawn.on_conflict_do_nothing(index_elements=["name"]))
            return int(connection.execute(sa.select(c.value).where(c.name == name)).scalar_one())

    def put_certification(self, record: Certification) -> None:
        self._upsert(t.certifications, [record])

    def lock_batch(self, batch_id: str) -> None:
        """Inside `together`: let nobody else set this batch's status until it ends."""
        if self.engine.dialect.name == "sqlite":
            return  # nobody else can write anyway
        with self._transaction() as connection:
            chosen = t.batches.c.batch_id == batch_id
            connection.execute(sa.select(t.batches.c.batch_id).where(chosen).with_for_update()).all()

    def set_batch_status(self, batch_id: str, status: BatchStatus, reasons: Sequence[str]) -> None:
        with self._transaction() as connection:
            connection.execute(
                t.batches.update().where(t.batches.c.batch_id == batch_id).values(status=status, reasons=list(reasons))
            )

    def put_batch_verdict(self, batch_id: str, answers: dict[str, str]) -> None:
        """A batch counts as accepted for these answers."""
        self._upsert(t.verdicts, [Verdict(batch_id, now(), answers)])

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

    def put_resolution(self, resolution: Resolution, preferences: Iterable[Preference]) -> None:
        """The labels of all pairs, in place of those before."""
        with self._transaction() as connection:
            connection.execute(t.preferences.delete())
            self._upsert(t.preferences, preferences, connection)
            connection.execute(t.resolution.delete())
            connection.execute(t.resolution.insert().values(id=1, **resolution.to_dict()))

    def request_training(self) -> None:
        self.put_request(TRAIN)

    def training_done(self, request: int, result: str = "") -> None:
        """A training that began after `request` has ended; requests that came later stay."""
        c = t.requests.c
        met = sa.and_(c.kind == TRAIN, c.state == "waiting", c.request_id <= request)
        with self._transaction() as connection:
            connection.execute(t.requests.update().where(met).values(state="done", result=result, ended=now()))

    def put_request(self, kind: str, **values: Any) -> int:
        """Note what a manager asks for, with the fields of `Request`; returns its number.

        Raises:
            StoreError: this form was sent before (`press`).
        """
        state = values.get("state", "waiting")
        row = {"at": now(), "ended": "" if state in ("waiting", "running") else now(), **values, "kind": kind}
        with self._transaction() as connection:
            made = connection.execute(t.requests.insert().values(row).returning(t.requests.c.request_id))
            return made.scalar_one()

    def set_request(self, request_id: int, state: RequestState, result: str = "") -> None:
        ended = "" if state in ("waiting", "running") else now()
        chosen = t.requests.c.request_id == request_id
        with self._transaction() as connection:
            connection.execute(t.requests.update().where(chosen).values(state=state, result=result, ended=ended))

    def withdraw_request(self, request_id: int, result: str) -> bool:
        """Whether it was still waiting; then nobody does it any more."""
        c = t.requests.c
        chosen = sa.and_(c.request_id == request_id, c.state == "waiting")
        values = {"state": "failed", "result": result, "ended": now()}
        with self._transaction() as connection:
            return connection.execute(t.requests.update().where(chosen).values(values)).rowcount == 1

    def put_activity(self, activity: Activity | None) -> None:
        """What the worker is doing now; None: nothing."""
        with self._transaction() as connection:
            connection.execute(t.activity.delete())
            if activity is not None:
                connection.execute(t.activity.insert().values(id=1, **activity.to_dict()))

    def put_verdict(self, version: str, trusted: bool, verdict: str) -> None:
        """What `robopref validate` found of a model."""
        chosen = t.model_versions.c.version == version
        with self._transaction() as connection:
            connection.execute(t.model_versions.update().where(chosen).values(trusted=trusted, verdict=verdict))

    def lock_tasks(self, tasks: Iterable[int]) -> None:
        """Inside `together`: let nobody else judge these tasks until it ends."""
        if self.engine.dialect.name == "sqlite":
            return  # nobody else can write anyway
        c = t.assignments.c
        with self._transaction() as connection:
            for chunk in chunks(sorted(tasks)):
                query = sa.select(c.assignment_id).where(c.task_id.in_(chunk)).order_by(c.task_id).with_for_update()
                connection.execute(query).all()

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
