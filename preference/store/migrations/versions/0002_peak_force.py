"""Peak force, the scale of the force strips; and an episode's place may change while its id stays.

Places are no longer unique: in a folder of episodes a new one shifts those after it, and trajectories that left the
pool keep theirs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("trajectories") as table:
        table.add_column(sa.Column("peak_force", sa.Float(), nullable=True))
        table.drop_constraint("uq_trajectories_dataset", type_="unique")
