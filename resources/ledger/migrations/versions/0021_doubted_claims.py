"""An expired claim of a run is read twice before it is taken, and the end of a run's step is kept by the database's clock.

Revision: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the columns; earlier claims were neither doubted nor ended."""
    for name in ("doubted_at", "ended_at"):
        op.add_column("heartbeats", sa.Column(name, sa.Double))
