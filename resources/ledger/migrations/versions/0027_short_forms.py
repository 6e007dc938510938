"""Contract: orders and deliveries are written in their short forms, and the index of all served models goes.

Rows that are there stay as they are, in full: to write 700 MB anew would hold the write lock for minutes, and every reader knows
both forms.

Revision: 0027
"""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Drop the index that no program since 0026 asks for."""
    op.drop_index("attempts_by_model", "attempts")
