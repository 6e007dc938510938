"""The first schema: attempts, their submissions and jobs, the journal, accounts, spending, current takes, locks.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Id = sa.String(64)
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN_STATES_SQL = "state IN ('held', 'overdue', 'queued', 'submitted', 'submitting', 'succeeded', 'unknown')"


def upgrade() -> None:
    """Make the tables, and the triggers that keep the journal append-only."""
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )

    op.create_table(
        "accounts",
        sa.Column("account", Id, primary_key=True),
        sa.Column("not_before", sa.Double, nullable=False, server_default="0"),
        sa.Column("polls_not_before", sa.Double, nullable=False, server_default="0"),
        sa.Column("throttles", sa.Integer, nullable=False, server_default="0"),
        sa.Column("throttled_at", sa.Double),
        sa.Column("stopped_kind", sa.String(32)),
        sa.Column("stopped_reason", sa.Text),
        sa.Column("stopped_at", sa.Double),
        sa.Column("alarmed_at", sa.Double),
        sa.Column("probe_at", sa.Double),
        sa.Column("reopened_at", sa.Double),
        sa.Column("billed_at", sa.Double),
    )
    op.execute("INSERT INTO accounts (account) VALUES ('*')")

    op.create_table(
        "spending",
        sa.Column("of", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("spent_micros", sa.BigInteger, nullable=False),
        sa.Column("cap_micros", sa.BigInteger),
        sa.CheckConstraint("cap_micros IS NULL OR spent_micros <= cap_micros", name="cap_holds"),
    )

    op.create_table(
        "attempts",
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("subject_kind", sa.String(16), nullable=False),
        sa.Column("subject_key", sa.String(128), nullable=False),
        sa.Column("series", sa.String(128), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("account", Id, nullable=False),
        sa.Column("endpoint", sa.String(128), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("decision", sa.String(128), nullable=False),
        sa.Column("batch", sa.String(128)),
        sa.Column("watched_by", sa.String(128)),
        sa.Column("reported_run_id", sa.String(128)),
        sa.Column("reported_at", sa.Double),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("reason_kind", sa.String(32)),
        sa.Column("reason", sa.Text),
        sa.Column("money_state", sa.String(16), nullable=False),
        sa.Column("quoted_micros", sa.BigInteger, nullable=False),
        sa.Column("charged_micros", sa.BigInteger),
        sa.Column("charge_source", sa.String(16)),
        sa.Column("counted_on", sa.String(10), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("submitted_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("delivered_at", sa.Double),
        sa.Column("next_poll_at", sa.Double),
        sa.Column("polls", sa.Integer, nullable=False, server_default="0"),
        sa.Column("overdue_at", sa.Double),
        sa.Column("copy_deadline", sa.Double),
        sa.Column("job_id", sa.String(512)),
        sa.Column("served_model", sa.Text),
        sa.Column("outputs", sa.JSON),
        sa.Column("inference_seconds", sa.Double),
        sa.Column("delivery_owner", sa.String(64)),
        sa.Column("delivery_until", sa.Double),
        sa.Column("delivery", sa.JSON),
        sa.CheckConstraint("quoted_micros >= 0", name="quoted_not_negative"),
        sa.CheckConstraint("version >= 1", name="version_positive"),
    )

    op.create_table(
        "submissions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("account", Id, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("http_status", sa.Integer),
        sa.Column("detail", sa.Text),
        sa.Column("clock_low", sa.Double),
        sa.Column("clock_high", sa.Double),
        sa.Column("candidates", sa.JSON),
    )

    op.create_table(
        "jobs",
        sa.Column("account", Id, primary_key=True),
        sa.Column("job_id", sa.String(512), primary_key=True),
        sa.Column("attempt_id", Id),
        sa.Column("submission_id", Id),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )

    op.create_table(
        "listings",
        sa.Column("account", Id, primary_key=True),
        sa.Column("claimed_until", sa.Double, nullable=False, server_default="0"),
        sa.Column("next_at", sa.Double, nullable=False, server_default="0"),
        sa.Column("looked_at", sa.Double),
        sa.Column("read_at", sa.Double),
    )

    op.create_table(
        "lags",
        sa.Column("account", Id, primary_key=True),
        sa.Column("job_id", sa.String(512), primary_key=True),
        sa.Column("seconds", sa.Double),
        sa.Column("seen_at", sa.Double, nullable=False),
    )

    op.create_table(
        "journal",
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("attempt_id", Id, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("from_state", sa.String(16)),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("money_state", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(128)),
        sa.Column("why", sa.Text),
        sa.UniqueConstraint("attempt_id", "version", name="one_entry_per_version"),
    )

    op.create_table(
        "current_takes",
        sa.Column("subject_kind", sa.String(16), primary_key=True),
        sa.Column("subject_key", sa.String(128), primary_key=True),
        sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
    )

    op.create_table(
        "locks",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )

    op.create_index(
        "one_open_attempt_per_subject",
        "attempts",
        ["subject_kind", "subject_key"],
        unique=True,
        sqlite_where=sa.text(OPEN_STATES_SQL),
        postgresql_where=sa.text(OPEN_STATES_SQL),
    )
    op.create_index("attempts_by_subject", "attempts", ["subject_kind", "subject_key", "seq"])
    op.create_index("attempts_by_state", "attempts", ["account", "state", "next_poll_at"])
    op.create_index("attempts_by_batch", "attempts", ["batch"])
    op.create_index("attempts_by_money", "attempts", ["account", "money_state", "charge_source"])
    op.create_index("submissions_by_account", "submissions", ["account", "started_at"])
    op.create_index("submissions_by_attempt", "submissions", ["attempt_id"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER journal_refuses_{verb.lower()} BEFORE {verb} ON journal "
                "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER journal_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON journal "
            "FOR EACH STATEMENT EXECUTE FUNCTION journal_is_append_only()"
        )
