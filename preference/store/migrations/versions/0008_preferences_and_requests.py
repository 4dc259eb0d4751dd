"""The resolved labels, requests for training, a model's verdict and who is in the pool: in the database, not in files.

A work folder of an earlier version is resolved again with `robopref resolve`; its models are validated again with
`robopref validate`; every trajectory counts as in the pool until the next `robopref pool`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

REASONS = (
    "unanimous", "majority", "single", "dawid_skene", "weighted_bt",
    "ambiguous", "needs_third", "unanswered", "skipped", "needs_review", "left_out", "held",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("trajectories", sa.Column("in_pool", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("model_versions", sa.Column("trusted", sa.Boolean(), nullable=True))
    op.add_column("model_versions", sa.Column("verdict", sa.Text(), nullable=False, server_default=""))
    words = ", ".join(f"'{reason}'" for reason in REASONS)
    op.create_table(
        "preferences",
        sa.Column("pair_id", sa.Text(), nullable=False),
        sa.Column("preference", sa.Float(), nullable=True),
        sa.Column("confidence_mean", sa.Float(), nullable=True),
        sa.Column("num_annotators", sa.Integer(), nullable=False),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.Column("annotator_ids", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint('"preference" IN (0, 0.5, 1)', name=op.f("ck_preferences_preference")),
        sa.CheckConstraint(f'"reason" IN ({words})', name=op.f("ck_preferences_reason")),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_preferences_pair_id")),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_preferences")),
    )
    op.create_table(
        "resolution",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("left_out", sa.JSON(), nullable=False),
        sa.Column("methods", sa.JSON(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_resolution_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resolution")),
    )
    op.create_table(
        "training_requests",
        sa.Column("request_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_training_requests")),
    )
