"""Answers to optional questions beside the comparison, which earlier answers do not have."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("judgments", sa.Column("questions", sa.JSON(), nullable=False, server_default="{}"))
