"""The request that brought an answer, which earlier answers do not name."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    for table in ("judgments", "rejected"):
        op.add_column(table, sa.Column("request_id", sa.Text(), nullable=False, server_default=""))
