"""Which robot a trajectory is of, and which cameras saw it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    for name in ("robot", "cameras"):
        op.add_column("trajectories", sa.Column(name, sa.Text(), nullable=False, server_default=""))
