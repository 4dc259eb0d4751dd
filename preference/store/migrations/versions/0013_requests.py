"""What managers ask for, Start Training among it, and what the worker is doing."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    texts = ("subject", "by", "why", "at", "result", "ended")
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("state", sa.Text(), nullable=False, server_default="waiting"),
        *(sa.Column(name, sa.Text(), nullable=False, server_default="") for name in texts),
        sa.Column("press", sa.Text(), nullable=True),
        sa.CheckConstraint("\"state\" IN ('waiting', 'running', 'done', 'failed')", name=op.f("ck_requests_state")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
        sa.UniqueConstraint("press", name=op.f("uq_requests_press")),
    )
    op.execute("INSERT INTO requests (kind) SELECT 'train' FROM training_requests")
    op.drop_table("training_requests")
    op.create_table(
        "activity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("doing", "since", "at")),
        sa.Column("step", sa.Text(), nullable=False, server_default=""),
        sa.Column("done", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_activity_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity")),
    )
