"""Expand: an index of the jobs that another model served than the one that was ordered.

Programs since this revision read the short forms of orders and deliveries (`stored_forms.py`).

Revision: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Make the index."""
    condition = sa.text("served_model <> endpoint")
    op.create_index(
        "attempts_served_otherwise",
        "attempts",
        ["account", "endpoint", "served_model"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
