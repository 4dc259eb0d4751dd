"""What people decide about a batch, and what they make of a flagged annotator's judgments.

Batches that an earlier version accepted by hand keep that as a decision.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BY_HAND = "Accepted by hand."


def upgrade() -> None:
    op.add_column("batches", sa.Column("decisions", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "reviews",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.CheckConstraint("\"verdict\" IN ('keep', 'leave_out')", name=op.f("ck_reviews_verdict")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.annotator_id"], name=op.f("fk_reviews_annotator_id")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_reviews_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "annotator_id", name=op.f("pk_reviews")),
    )
    connection = op.get_bind()
    batches = sa.table("batches", sa.column("batch_id"), sa.column("reasons"), sa.column("decisions"))
    for batch_id, reasons in connection.execute(sa.select(batches.c.batch_id, batches.c.reasons)).all():
        reasons = json.loads(reasons) if isinstance(reasons, str) else reasons
        if BY_HAND in reasons:
            decision = {"status": "accepted", "by": "somebody", "at": "", "why": BY_HAND}
            values = {"decisions": sa.literal([decision], sa.JSON), "reasons": sa.literal(
                [reason for reason in reasons if reason != BY_HAND], sa.JSON)}  # fmt: skip
            connection.execute(sa.update(batches).where(batches.c.batch_id == batch_id).values(values))
