"""What was said when a batch was planned, apart from QC's reasons, which every check writes anew."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("batches", sa.Column("notes", sa.JSON(), nullable=False, server_default="[]"))
