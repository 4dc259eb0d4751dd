"""Which part of a test an assignment belongs to. Those made before all count as the first part."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("assignments", sa.Column("part", sa.Integer(), nullable=False, server_default="0"))
