"""Jobs are found by their POST: whether a POST has made several is asked for each late one.

Revision: 0023
"""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Make the index."""
    op.create_index("jobs_by_submission", "jobs", ["submission_id"])
