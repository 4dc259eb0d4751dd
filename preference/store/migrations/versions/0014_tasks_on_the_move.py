"""When an assignment was given, and tasks in Label Studio whose assignments went to others. What was given before
counts from when its batch was made."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("assignments", sa.Column("given_at", sa.Text(), nullable=False, server_default=""))
    made = "SELECT batches.created_at FROM batches WHERE batches.batch_id = assignments.batch_id"
    op.execute(f"UPDATE assignments SET given_at = ({made})")
    op.create_table(
        "obsolete_tasks",
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_obsolete_tasks")),
    )
