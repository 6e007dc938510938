"""Who uses an account's key: this ledger alone, or others too.

Revision: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("accounts", sa.Column("key_use", sa.String(16)))
    op.add_column("accounts", sa.Column("key_use_since", sa.Double))
    op.add_column("accounts", sa.Column("key_use_by", sa.Text))
