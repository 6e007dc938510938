"""What a provider says of a purchase's money and is not believed, and rows of its lists that were set aside.

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "disputes",
        sa.Column("attempt_id", sa.String(64), sa.ForeignKey("attempts.id"), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("charged_micros", sa.BigInteger, nullable=False),
        sa.Column("refunded_micros", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("told_at", sa.Double),
        sa.Column("accepted_at", sa.Double),
        sa.Column("who", sa.Text),
        sa.Column("why", sa.Text),
    )
    op.create_table(
        "unread_rows",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
