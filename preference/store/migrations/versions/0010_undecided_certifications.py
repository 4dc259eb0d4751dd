"""An attempt at a calibration set can be undecided: more pairs decide."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("certifications", sa.Column("undecided", sa.Boolean(), nullable=False, server_default=sa.false()))
