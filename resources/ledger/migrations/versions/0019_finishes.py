"""Drafts and their finishes: one bought finish of each draft, and the circled drafts that have none.

Revision: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

LIVE = (
    "finishes IS NOT NULL AND subject_kind = 'clip' AND state IN ('delivered', 'held', 'overdue', 'quarantined', 'queued', "
    "'submitted', 'submitting', 'succeeded', 'unknown')"
)


def upgrade() -> None:
    """Add the columns, the index and the table; no purchase of before is a draft or a finish."""
    op.add_column("attempts", sa.Column("is_draft", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("attempts", sa.Column("finishes", sa.String(64)))
    op.create_index(
        "one_finish_per_draft",
        "attempts",
        ["finishes"],
        unique=True,
        sqlite_where=sa.text(LIVE),
        postgresql_where=sa.text(LIVE),
    )
    op.create_table(
        "waiting_finishes",
        sa.Column("clip", sa.String(128), primary_key=True),
        sa.Column("draft", sa.String(64), sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("ends_at", sa.Double),
        sa.Column("decision", sa.String(128)),
        sa.Column("at_most_micros", sa.BigInteger),
        sa.Column("ordered_by", sa.Text),
        sa.Column("reason", sa.Text),
    )
