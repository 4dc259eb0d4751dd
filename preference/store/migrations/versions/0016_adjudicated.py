"""A label may be an adjudicator's. The table of labels is made anew, with its rows, since SQLite changes no check."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

REASONS = (
    "unanimous", "majority", "single", "dawid_skene", "weighted_bt", "adjudicated",
    "ambiguous", "needs_third", "unanswered", "skipped", "needs_review", "left_out", "held",
)  # fmt: skip


def upgrade() -> None:
    connection = op.get_bind()
    rows = [dict(row) for row in connection.execute(sa.text("SELECT * FROM preferences")).mappings()]
    op.drop_table("preferences")
    words = ", ".join(f"'{reason}'" for reason in REASONS)
    table = op.create_table(
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
    for row in rows:
        ids = row["annotator_ids"]
        op.bulk_insert(table, [row | {"annotator_ids": json.loads(ids) if isinstance(ids, str) else ids}])
