"""Hosts that were refused: which, why and since when.

Revision: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "refused_hosts",
        sa.Column("host", sa.String(64), primary_key=True),
        sa.Column("about", sa.String(16), primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
