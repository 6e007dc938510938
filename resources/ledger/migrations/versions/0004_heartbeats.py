"""The heartbeats of runs.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "heartbeats",
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(64)),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("lost_at", sa.Double),
    )
