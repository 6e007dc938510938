"""Indexes for what every step of an account asks: it read the account's whole history, which grows for years.

Revision: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("attempts_by_submit", "attempts", ["account", "submitted_at"])
    op.create_index("attempts_by_endpoint", "attempts", ["account", "endpoint", "seq"])
    op.create_index(
        "attempts_asked_for_late",
        "attempts",
        ["account", "late_at"],
        sqlite_where=sa.text("late_at IS NOT NULL"),
        postgresql_where=sa.text("late_at IS NOT NULL"),
    )
    op.create_index("submissions_by_state", "submissions", ["account", "state", "started_at"])
