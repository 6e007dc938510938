"""What was seen of a job's end that is not believed yet, and when a job without an output is asked for again.

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("attempts", sa.Column("end_kind", sa.String(32)))
    op.add_column("attempts", sa.Column("end_said", sa.Text))
    op.add_column("attempts", sa.Column("end_since", sa.Double))
    op.add_column("attempts", sa.Column("end_times", sa.Integer, nullable=False, server_default="0"))
    op.add_column("attempts", sa.Column("late_at", sa.Double))
