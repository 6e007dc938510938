"""An index for what people look at: the clips of a series, and of a series and day.

Revision: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the index."""
    op.create_index("attempts_by_series", "attempts", ["series", "counted_on", "subject_kind", "subject_key"])
