"""Expand: a table of actors, and in the journal a column for their numbers.

Programs since this revision also read orders and deliveries that leave out what their rows have in columns (`stored_forms.py`).

Revision: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "actors",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.UniqueConstraint("who", "run_id", name="one_number_per_actor"),
    )
    op.add_column("journal", sa.Column("actor", sa.Integer))
