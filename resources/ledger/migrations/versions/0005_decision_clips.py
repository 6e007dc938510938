"""Which clips a decision is about.

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "decision_clips",
        sa.Column("decision", sa.String(128), primary_key=True),
        sa.Column("clip", sa.String(128), primary_key=True),
    )
