"""An annotation's task is looked up with each webhook."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for table in ("judgments", "rejected"):
        op.create_index(f"ix_{table}_task_id", table, ["task_id"])
