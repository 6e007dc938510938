"""Local files that were handed in to an account.

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "uploads",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("url", sa.Text),
        sa.Column("expires_at", sa.Double, nullable=False, server_default="0"),
        sa.Column("claimed_until", sa.Double, nullable=False, server_default="0"),
    )
