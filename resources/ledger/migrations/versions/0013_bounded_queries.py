"""Indexes for what is worked on, so that no query of a tick, a claim, a decision or a delivery reads what has ended.

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

UNBILLED = (
    "money_state IN ('confirmed', 'indeterminate', 'refund_expected') AND "
    "(money_state = 'refund_expected' OR charge_source IS NULL OR charge_source <> 'bill')"
)


def upgrade() -> None:
    """Make the indexes, and drop two that they replace."""
    for name, where, columns in (
        ("attempts_not_delivered", "state <> 'delivered'", ["state", "account", "seq", "overdue_at"]),
        ("attempts_to_poll", "next_poll_at IS NOT NULL", ["account", "next_poll_at"]),
        ("attempts_unreported", "reported_run_id IS NULL", ["reported_run_id", "account", "seq"]),
        ("attempts_unbilled", UNBILLED, ["money_state", "account", "submitted_at"]),
        ("attempts_watched", "watched_by IS NOT NULL", ["watched_by"]),
    ):
        condition = sa.text(where)
        op.create_index(name, "attempts", columns, sqlite_where=condition, postgresql_where=condition)
    op.create_index("attempts_by_decision", "attempts", ["decision"])
    op.create_index("attempts_by_job", "attempts", ["account", "job_id"])
    op.create_index("attempts_by_model", "attempts", ["account", "endpoint", "served_model"])
    op.create_index("jobs_by_attempt", "jobs", ["attempt_id"])
    op.create_index("lags_by_seconds", "lags", ["account", "seconds"])
    op.create_index("lags_by_sight", "lags", ["account", "seen_at"])
    op.drop_index("attempts_by_state", "attempts")
    op.drop_index("attempts_by_money", "attempts")
