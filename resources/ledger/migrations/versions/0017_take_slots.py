"""Take slots: one open purchase of each clip and slot, and how many takes of a clip were approved.

Revision: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

OPEN = "state IN ('held', 'overdue', 'queued', 'submitted', 'submitting', 'succeeded', 'unknown')"


def upgrade() -> None:
    """Add the columns; every purchase of before is in the first slot."""
    op.add_column("attempts", sa.Column("slot", sa.Integer, nullable=False, server_default="1"))
    op.add_column("decision_clips", sa.Column("takes", sa.Integer))
    op.create_index(
        "one_open_attempt_per_slot",
        "attempts",
        ["subject_kind", "subject_key", "slot"],
        unique=True,
        sqlite_where=sa.text(OPEN),
        postgresql_where=sa.text(OPEN),
    )
    op.drop_index("one_open_attempt_per_subject", "attempts")
