"""What a held purchase lacks, when it was last judged, and since when an account's listing cannot be read.

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; what is held already is judged again at once."""
    op.add_column("submissions", sa.Column("lack", sa.String(16)))
    op.add_column("submissions", sa.Column("judged_at", sa.Double))
    op.add_column("listings", sa.Column("failing_since", sa.Double))
    op.add_column("listings", sa.Column("failure", sa.Text))
