"""What a certificate is tied to, what a manager did with it, and the pairs for the second training session."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("certifications", sa.Column("review", sa.JSON(), nullable=False, server_default="[]"))
    for name in ("template", "override", "revoked"):
        op.add_column("certifications", sa.Column(name, sa.Text(), nullable=False, server_default=""))
