"""Why an account is paused, and who lifted a pause.

Revision: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("accounts", sa.Column("pause_reason", sa.Text))
    op.add_column("accounts", sa.Column("lifted_by", sa.String(64)))
    op.add_column("accounts", sa.Column("lifted_at", sa.Double))
