"""Tallies: how many purchases of each account have ended, by how.

Revision: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

ENDED = (
    "delivered",
    "quarantined",
    "withdrawn",
    "rejected",
    "absent",
    "failed",
    "vanished",
    "lost",
    "abandoned",
)


def upgrade() -> None:
    """Make the table, and count what has ended before."""
    made = op.create_table(
        "tallies",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("purchases", sa.BigInteger, nullable=False),
    )
    attempts = sa.table("attempts", sa.column("account"), sa.column("state"))
    op.execute(
        sa.insert(made).from_select(
            ["account", "state", "purchases"],
            sa.select(attempts.c.account, attempts.c.state, sa.func.count())
            .where(attempts.c.state.in_(ENDED))
            .group_by(attempts.c.account, attempts.c.state),
        )
    )
