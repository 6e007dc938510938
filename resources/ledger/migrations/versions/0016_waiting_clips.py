"""The clips that wait for a person's verdict, and verdicts whose selects Dagster does not show yet.

Revision: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

Id = sa.String(64)


def upgrade() -> None:
    """Make the tables. What was circled before is shown, too."""
    op.create_table(
        "waiting_clips",
        sa.Column("clip", sa.String(128), primary_key=True),
        sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("decide_at", sa.Double),
        sa.Column("held_at", sa.Double),
    )
    op.create_index("waiting_clips_by_end", "waiting_clips", ["decide_at"])
    op.create_table("unshown_verdicts", sa.Column("verdict_id", Id, primary_key=True))
    op.execute("INSERT INTO unshown_verdicts (verdict_id) SELECT verdict_id FROM take_verdicts")
