"""What each answer was when its batch was accepted, and who came and left by a manager's word."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("annotators", sa.Column("added", sa.Text(), nullable=False, server_default=""))
    op.add_column("annotators", sa.Column("away", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "verdicts",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_verdicts_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_verdicts")),
    )
