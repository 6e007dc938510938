"""A seed of its own for each POST, by which a listing that shows requests names its job.

Revision: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column; earlier POSTs have none."""
    op.add_column("submissions", sa.Column("seed", sa.BigInteger))
