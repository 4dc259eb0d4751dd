"""The tables. Column names are the records' field names, so that a row and a record are the same thing.

Foreign keys and check constraints do the guarding: whatever client writes, an answer belongs to an assignment that
exists, and a preference is one of three words. Changing a table means a new migration beside this file.
"""

from __future__ import annotations

from typing import get_args

import sqlalchemy as sa

from preference.records import RequestState, ResolutionReason

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _text(name: str, *args: object, **kwargs: object) -> sa.Column[str]:
    kwargs.setdefault("nullable", False)
    return sa.Column(name, sa.Text, *args, **kwargs)  # type: ignore[arg-type]


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    words = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f'"{column}" IN ({words})', name=column)


trajectories = sa.Table(
    "trajectories",
    metadata,
    _text("trajectory_id", primary_key=True),
    _text("dataset"),
    sa.Column("episode_index", sa.Integer, nullable=False),
    _text("source"),
    _text("task_type"),
    _text("environment_id"),
    _text("robot", server_default=""),
    _text("cameras", server_default=""),
    sa.Column("success", sa.Boolean),
    _text("tier"),
    sa.Column("quartile", sa.Integer, nullable=False),
    *(
        sa.Column(name, sa.Float)
        for name in (
            "quality",
            "true_return",
            "path_efficiency",
            "smoothness",
            "grasp_stability",
            "peak_force",
            "duration_s",
            "start_s",
            "end_s",
        )
    ),
    sa.Column("num_frames", sa.Integer, nullable=False),
    sa.Column("fps", sa.Float, nullable=False),
    _text("clip"),
    _text("clip_sha256"),
    sa.Column("in_pool", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.CheckConstraint("quartile BETWEEN 0 AND 4", name="quartile"),
)

batches = sa.Table(
    "batches",
    metadata,
    _text("batch_id", primary_key=True),
    _text("kind"),
    _text("status"),
    _text("created_at"),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("notes", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("decisions", sa.JSON, nullable=False, server_default="[]"),
    _one_of("kind", "production", "calibration", "active"),
    _one_of("status", "open", "accepted", "held"),
)

pairs = sa.Table(
    "pairs",
    metadata,
    _text("pair_id", primary_key=True),
    _text("trajectory_a_id", sa.ForeignKey("trajectories.trajectory_id")),
    _text("trajectory_b_id", sa.ForeignKey("trajectories.trajectory_id")),
    _text("task_type"),
    _text("stratum"),
    _text("kind"),
    _text("batch_id", sa.ForeignKey("batches.batch_id"), index=True),
    _text("expected", nullable=True),
    _text("dimension"),
    _text("reasoning"),
    _text("strategy"),
    sa.CheckConstraint("trajectory_a_id <> trajectory_b_id", name="two_trajectories"),
    _one_of("stratum", "same", "adjacent", "distant"),
    _one_of("kind", "production", "gold", "calibration", "active"),
    _one_of("expected", "A", "B", "equal"),
)

annotators = sa.Table(
    "annotators",
    metadata,
    _text("annotator_id", primary_key=True),
    _text("email", unique=True),
    _text("role"),
    sa.Column("active", sa.Boolean, nullable=False),
    _text("teacher"),
    sa.Column("studio_user_id", sa.Integer),
    _text("added", server_default=""),
    _text("away", server_default=""),
    _one_of("role", "annotator", "expert"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    _text("assignment_id", primary_key=True),
    _text("pair_id", sa.ForeignKey("pairs.pair_id"), index=True),
    _text("annotator_id", sa.ForeignKey("annotators.annotator_id"), index=True),
    _text("batch_id", sa.ForeignKey("batches.batch_id"), index=True),
    sa.Column("position", sa.Integer, nullable=False),
    _text("left"),
    _text("duplicate_of", sa.ForeignKey("assignments.assignment_id"), nullable=True),
    sa.Column("project_id", sa.Integer),
    sa.Column("task_id", sa.Integer, unique=True),
    sa.Column("third", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("part", sa.Integer, nullable=False, server_default="0"),
    sa.Column("given_at", sa.Text, nullable=False, server_default=""),
    _one_of("left", "A", "B"),
    sa.UniqueConstraint("annotator_id", "batch_id", "position"),
)
sa.Index(
    "uq_assignments_pair_annotator",
    assignments.c.pair_id,
    assignments.c.annotator_id,
    unique=True,
    sqlite_where=assignments.c.duplicate_of.is_(None),
    postgresql_where=assignments.c.duplicate_of.is_(None),
)

obsolete_tasks = sa.Table(
    "obsolete_tasks",
    metadata,
    sa.Column("task_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("project_id", sa.Integer, nullable=False),
)
"""In Label Studio still, though their assignments went to others: to be deleted there."""

judgments = sa.Table(
    "judgments",
    metadata,
    _text("assignment_id", sa.ForeignKey("assignments.assignment_id"), primary_key=True),
    _text("preference"),
    sa.Column("confidence", sa.Integer, nullable=False),
    sa.Column("response_time_ms", sa.Integer, nullable=False),
    _text("free_text_reason"),
    sa.Column("lead_time_ms", sa.Integer),
    sa.Column("annotation_id", sa.Integer, unique=True),
    sa.Column("task_id", sa.Integer, index=True),
    _text("created_at"),
    sa.Column("raw", sa.JSON, nullable=False),
    sa.Column("questions", sa.JSON, nullable=False, server_default="{}"),
    _text("request_id", server_default=""),
    _one_of("preference", "A", "B", "equal"),
    sa.CheckConstraint("confidence BETWEEN 1 AND 5", name="confidence"),
    sa.CheckConstraint("response_time_ms >= 0", name="response_time_ms"),
)

rejected = sa.Table(
    "rejected",
    metadata,
    sa.Column("annotation_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.Integer, index=True),
    _text("reason"),
    sa.Column("raw", sa.JSON, nullable=False),
    _text("request_id", server_default=""),
)

certifications = sa.Table(
    "certifications",
    metadata,
    _text("annotator_id", sa.ForeignKey("annotators.annotator_id"), primary_key=True),
    _text("batch_id", sa.ForeignKey("batches.batch_id"), primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("kappa", sa.Float),
    sa.Column("kappa_low", sa.Float),
    sa.Column("kappa_high", sa.Float),
    sa.Column("certified", sa.Boolean, nullable=False),
    sa.Column("pairs", sa.Integer, nullable=False),
    _text("created_at"),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("review", sa.JSON, nullable=False, server_default="[]"),
    _text("template", server_default=""),
    _text("override", server_default=""),
    _text("revoked", server_default=""),
    sa.Column("undecided", sa.Boolean, nullable=False, server_default=sa.false()),
)

reviews = sa.Table(
    "reviews",
    metadata,
    _text("batch_id", sa.ForeignKey("batches.batch_id"), primary_key=True),
    _text("annotator_id", sa.ForeignKey("annotators.annotator_id"), primary_key=True),
    _text("verdict"),
    sa.Column("kinds", sa.JSON, nullable=False),
    _text("by"),
    _text("at"),
    _text("why"),
    _one_of("verdict", "keep", "leave_out"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _text("batch_id", sa.ForeignKey("batches.batch_id"), primary_key=True),
    _text("at"),
    sa.Column("answers", sa.JSON, nullable=False),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    _text("version", primary_key=True),
    _text("path"),
    _text("created_at"),
    sa.Column("preferences", sa.Integer, nullable=False),
    sa.Column("ranking_accuracy", sa.Float),
    sa.Column("spearman", sa.Float),
    _text("encoder"),
    _text("weights"),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("trusted", sa.Boolean),
    _text("verdict", server_default=""),
)

preferences = sa.Table(
    "preferences",
    metadata,
    _text("pair_id", sa.ForeignKey("pairs.pair_id"), primary_key=True),
    sa.Column("preference", sa.Float),
    sa.Column("confidence_mean", sa.Float),
    sa.Column("num_annotators", sa.Integer, nullable=False),
    sa.Column("agreement", sa.Float),
    sa.Column("annotator_ids", sa.JSON, nullable=False),
    _text("reason"),
    sa.CheckConstraint('"preference" IN (0, 0.5, 1)', name="preference"),
    _one_of("reason", *get_args(ResolutionReason)),
)

resolution = sa.Table(
    "resolution",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("method"),
    sa.Column("left_out", sa.JSON, nullable=False),
    sa.Column("methods", sa.JSON, nullable=False),
    sa.CheckConstraint("id = 1", name="id"),
)
"""One row, about all `preferences`; none before the first `robopref resolve`."""

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.Integer, primary_key=True, autoincrement=True),
    _text("kind"),
    _text("subject", server_default=""),
    sa.Column("detail", sa.JSON, nullable=False, server_default="{}"),
    _text("by", server_default=""),
    _text("why", server_default=""),
    _text("at", server_default=""),
    _text("state", server_default="waiting"),
    _text("result", server_default=""),
    _text("ended", server_default=""),
    _text("press", nullable=True, unique=True),
    _one_of("state", *get_args(RequestState)),
)
"""Everything that managers asked for in the console, and each Start Training. The worker takes those that wait."""

activity = sa.Table(
    "activity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("doing"),
    _text("since"),
    _text("at"),
    _text("step", server_default=""),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("total", sa.Integer),
    sa.CheckConstraint("id = 1", name="id"),
)
"""One row while the worker does something."""

secrets = sa.Table("secrets", metadata, _text("name", primary_key=True), _text("value"))
"""Drawn by this project, shown to nobody."""

RESPONSES_VIEW = """
CREATE VIEW responses AS
SELECT p.pair_id, p.trajectory_a_id, p.trajectory_b_id, a.annotator_id,
       j.preference, j.confidence, j.response_time_ms, j.free_text_reason
FROM judgments j
JOIN assignments a ON a.assignment_id = j.assignment_id
JOIN pairs p ON p.pair_id = a.pair_id
"""
"""The protocol's eight columns, for whoever opens the database with a plain SQL client."""
