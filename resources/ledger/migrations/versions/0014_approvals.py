"""What was approved of each clip of a decision.

Revision: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the columns; decisions of before approved nothing."""
    op.add_column("decision_clips", sa.Column("order_fingerprint", sa.String(64)))
    op.add_column("decision_clips", sa.Column("at_most_micros", sa.BigInteger))
