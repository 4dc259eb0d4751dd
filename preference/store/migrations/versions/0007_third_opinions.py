"""Which assignments were made because two annotators differed. Of those made before, none is marked."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("assignments", sa.Column("third", sa.Boolean(), nullable=False, server_default=sa.false()))
