"""The ledger's tables, as SQLAlchemy Core. The migrations build the same tables, which a test checks.

Times are seconds since the epoch (UTC) in a double, money is micro-dollars in a 64-bit integer: both compare and sum
the same way in SQLite and PostgreSQL.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from resources.ledger.states import OPEN
from resources.plain import fit

metadata = sa.MetaData()

LONGEST_JOB_ID = 512
"""The longest text in characters, as the providers' clients cut it."""
LONGEST_WORDS = 4_000


class Words(sa.types.TypeDecorator[str]):
    """Text from outside: characters that a database cannot store are replaced, and long text is cut.

    A provider's odd text must never prevent its transition from being recorded.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """The text without characters that a database cannot store, such as NUL and lone surrogates."""
        return None if value is None else fit(value[:LONGEST_WORDS])


Id = sa.String(64)
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

OPEN_STATES_SQL = "state IN ({})".format(", ".join(f"'{state.value}'" for state in sorted(OPEN)))
NOT_DELIVERED = sa.text("attempts.state <> 'delivered'")
"""Selects undelivered attempts, which are few. It is the condition of a partial index, which SQLite uses only for a query that
repeats the condition word for word."""
UNBILLED = sa.text(
    "attempts.money_state IN ('confirmed', 'indeterminate', 'refund_expected') AND "
    "(attempts.money_state = 'refund_expected' OR attempts.charge_source IS NULL OR attempts.charge_source <> 'bill')"
)
"""Selects attempts whose cost a bill may still change; also the condition of a partial index."""
SERVED_OTHERWISE = sa.text("attempts.served_model <> attempts.endpoint")
"""Selects attempts that another model served than the ordered one, which are few; also the condition of a partial index."""

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Facts of the ledger itself: its id, the bucket it belongs to."""

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("not_before", sa.Double, nullable=False, server_default="0"),
    sa.Column("polls_not_before", sa.Double, nullable=False, server_default="0"),
    sa.Column("throttles", sa.Integer, nullable=False, server_default="0"),
    sa.Column("throttled_at", sa.Double),
    sa.Column("stopped_kind", sa.String(32)),
    sa.Column("stopped_reason", Words),
    sa.Column("stopped_at", sa.Double),
    sa.Column("alarmed_at", sa.Double),
    sa.Column("probe_at", sa.Double),
    sa.Column("reopened_at", sa.Double),
    sa.Column("billed_at", sa.Double),
    sa.Column("pause_reason", Words),
    sa.Column("lifted_by", Id),
    sa.Column("lifted_at", sa.Double),
    sa.Column("key_use", sa.String(16)),
    sa.Column("key_use_since", sa.Double),
    sa.Column("key_use_by", Words),
)
"""One row per account: its pause, its stop, when its bill was read, and whether its key is dedicated.

The row is locked while a submit is claimed. The row `*` stands for all accounts (`dailies stop`).
"""

spending = sa.Table(
    "spending",
    metadata,
    sa.Column("of", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("period", sa.String(16), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("spent_micros", sa.BigInteger, nullable=False),
    sa.Column("cap_micros", sa.BigInteger),
    sa.CheckConstraint("cap_micros IS NULL OR spent_micros <= cap_micros", name="cap_holds"),
)
"""What counts as spent, by everything, series and account, and by run, day, month and in total; see `counters.py`."""

attempts = sa.Table(
    "attempts",
    metadata,
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
    sa.Column("reason", Words),
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
    sa.Column("job_id", sa.String(LONGEST_JOB_ID)),
    sa.Column("served_model", Words),
    sa.Column("outputs", sa.JSON),
    sa.Column("inference_seconds", sa.Double),
    sa.Column("delivery_owner", sa.String(64)),
    sa.Column("delivery_until", sa.Double),
    sa.Column("delivery", sa.JSON),
    sa.Column("end_kind", sa.String(32)),
    sa.Column("end_said", Words),
    sa.Column("end_since", sa.Double),
    sa.Column("end_times", sa.Integer, nullable=False, server_default="0"),
    sa.Column("late_at", sa.Double),
    sa.Column("slot", sa.Integer, nullable=False, server_default="1"),
    sa.Column("is_draft", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("finishes", Id),
    sa.CheckConstraint("quoted_micros >= 0", name="quoted_not_negative"),
    sa.CheckConstraint("version >= 1", name="version_positive"),
)


def is_any_of(column: sa.Column[Any], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """`column IN (...)` with constants instead of parameters: SQLAlchemy writes the parameters of an IN anew at every execution.

    Args:
        values: Constants of this program, since they are not quoted.
    """
    return column.in_([sa.literal_column(f"'{value}'") for value in sorted(values)])


def partial_index(name: str, where: str, *columns: sa.Column[Any], unique: bool = False) -> None:
    """Declare a partial index. Its rows are those in work, whose number does not grow with the history.

    The condition is only a note, because the migrations build the indexes. As `postgresql_where`, it would make SQLAlchemy import
    PostgreSQL's dialect into every command.

    Args:
        where: The condition as SQL; a test compares it with the migrations.
    """
    sa.Index(name, *columns, unique=unique, info={"where": where.replace("attempts.", "")})


_of = attempts.c
partial_index(
    "one_open_attempt_per_slot", OPEN_STATES_SQL, _of.subject_kind, _of.subject_key, _of.slot, unique=True
)
partial_index("attempts_not_delivered", NOT_DELIVERED.text, _of.state, _of.account, _of.seq, _of.overdue_at)
partial_index("attempts_to_poll", "next_poll_at IS NOT NULL", _of.account, _of.next_poll_at)
partial_index("attempts_asked_for_late", "late_at IS NOT NULL", _of.account, _of.late_at)
partial_index("attempts_unreported", "reported_run_id IS NULL", _of.reported_run_id, _of.account, _of.seq)
partial_index("attempts_unbilled", UNBILLED.text, _of.money_state, _of.account, _of.submitted_at)
partial_index("attempts_watched", "watched_by IS NOT NULL", _of.watched_by)
sa.Index("attempts_by_subject", _of.subject_kind, _of.subject_key, _of.seq)
sa.Index("attempts_by_series", _of.series, _of.counted_on, _of.subject_kind, _of.subject_key)
sa.Index("attempts_by_batch", _of.batch)
sa.Index("attempts_by_decision", _of.decision)
sa.Index("attempts_by_job", _of.account, _of.job_id)
sa.Index("attempts_by_submit", _of.account, _of.submitted_at)
sa.Index("attempts_by_endpoint", _of.account, _of.endpoint, _of.seq)
partial_index("attempts_served_otherwise", SERVED_OTHERWISE.text, _of.account, _of.endpoint, _of.served_model)

_newer = attempts.alias("newer")
IS_NEWEST = ~sa.exists().where(
    _newer.c.subject_kind == attempts.c.subject_kind,
    _newer.c.subject_key == attempts.c.subject_key,
    _newer.c.slot == attempts.c.slot,
    _newer.c.seq > attempts.c.seq,
)
"""Whether an attempt is the newest of its subject and take slot."""

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("account", Id, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("http_status", sa.Integer),
    sa.Column("detail", Words),
    sa.Column("clock_low", sa.Double),
    sa.Column("clock_high", sa.Double),
    sa.Column("candidates", sa.JSON),
    sa.Column("lack", sa.String(16)),
    sa.Column("judged_at", sa.Double),
    sa.Column("seed", sa.BigInteger),
)
"""Every POST: its seed, its time, how far the provider's clock was ahead then, its candidates, and, if it is held, the missing
proof and the time of the last search for it."""
sa.Index("submissions_by_account", submissions.c.account, submissions.c.started_at)
sa.Index("submissions_by_attempt", submissions.c.attempt_id)
sa.Index("submissions_by_state", submissions.c.account, submissions.c.state, submissions.c.started_at)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("job_id", sa.String(LONGEST_JOB_ID), primary_key=True),
    sa.Column("attempt_id", Id),
    sa.Column("submission_id", Id),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
)
"""Every job id ever seen for an account, from any answer, written in any state of the attempt."""
sa.Index("jobs_by_attempt", jobs.c.attempt_id)
sa.Index("jobs_by_submission", jobs.c.submission_id)

listings = sa.Table(
    "listings",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("claimed_until", sa.Double, nullable=False, server_default="0"),
    sa.Column("next_at", sa.Double, nullable=False, server_default="0"),
    sa.Column("looked_at", sa.Double),
    sa.Column("read_at", sa.Double),
    sa.Column("failing_since", sa.Double),
    sa.Column("failure", Words),
)
"""For each account: when its listing is read next, the claim of its reader, when it was last read to its end, and since when and
why the listing or the bill cannot be read."""

lags = sa.Table(
    "lags",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("job_id", sa.String(LONGEST_JOB_ID), primary_key=True),
    sa.Column("seconds", sa.Double),
    sa.Column("seen_at", sa.Double, nullable=False),
)
"""How long after its submit a job was first seen in its account's listing, if that could be measured."""
sa.Index("lags_by_seconds", lags.c.account, lags.c.seconds)
sa.Index("lags_by_sight", lags.c.account, lags.c.seen_at)

actors = sa.Table(
    "actors",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(128), nullable=False),
    sa.UniqueConstraint("who", "run_id", name="one_number_per_actor"),
)
"""Append-only: everybody who has changed an attempt; see `actors.py`. Updates and deletes are refused by trigger. `run_id` is empty
outside of runs."""

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("attempt_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("money_state", sa.String(16), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(128)),
    sa.Column("why", Words),
    sa.Column("actor", sa.Integer),
    sa.UniqueConstraint("attempt_id", "version", name="one_entry_per_version"),
)
"""Append-only: every transition. Updates and deletes are refused by trigger. An entry with an `actor` has its `who` and `run_id` in
`actors`; older entries have their own."""

decision_clips = sa.Table(
    "decision_clips",
    metadata,
    sa.Column("decision", sa.String(128), primary_key=True),
    sa.Column("clip", sa.String(128), primary_key=True),
    sa.Column("order_fingerprint", sa.String(64)),
    sa.Column("at_most_micros", sa.BigInteger),
    sa.Column("takes", sa.Integer),
)
"""The clips or characters of each decision (see `decision_clips.py`), and what a person approved for each (see `approvals.py`);
NULL if nobody was asked."""

current_takes = sa.Table(
    "current_takes",
    metadata,
    sa.Column("subject_kind", sa.String(16), primary_key=True),
    sa.Column("subject_key", sa.String(128), primary_key=True),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
)
"""The current take of each subject."""

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("clip", sa.String(128), nullable=False),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("word", sa.String(16), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("note", Words, nullable=False),
    sa.Column("second", sa.Double),
    sa.Column("who", Words, nullable=False),
    sa.Column("way", sa.String(16), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
"""Append-only: every verdict of a person on a take; see `verdicts.py`. Updates and deletes are refused by trigger."""
sa.Index("verdicts_by_clip", verdicts.c.clip, verdicts.c.seq)

take_verdicts = sa.Table(
    "take_verdicts",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("clip", sa.String(128), nullable=False),
    sa.Column("verdict_id", Id, nullable=False),
    sa.Column("word", sa.String(16), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
"""The present verdict on each take: circled or rejected. It is derived from `verdicts`."""
partial_index("one_circled_take_per_clip", "word = 'circled'", take_verdicts.c.clip, unique=True)
sa.Index("take_verdicts_by_clip", take_verdicts.c.clip)

unstored_verdicts = sa.Table(
    "unstored_verdicts",
    metadata,
    sa.Column("verdict_id", Id, primary_key=True),
)
"""The verdicts that the bucket does not hold yet."""

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
"""Named leases for work outside the database; see `locks.py`."""

notes = sa.Table(
    "notes",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("value", Words, nullable=False),
)
"""Notes about an attempt's output before its delivery; see `notes.py`."""

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("url", sa.Text),
    sa.Column("expires_at", sa.Double, nullable=False, server_default="0"),
    sa.Column("claimed_until", sa.Double, nullable=False, server_default="0"),
)
"""Local files that were uploaded to an account, by content; see `uploads.py`."""

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("run_id", sa.String(128), primary_key=True),
    sa.Column("owner", sa.String(64)),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("lost_at", sa.Double),
    sa.Column("doubted_at", sa.Double),
    sa.Column("ended_at", sa.Double),
)
"""The claim of each run that is alive; see `heartbeats.py`."""

disputes = sa.Table(
    "disputes",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("account", Id, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("charged_micros", sa.BigInteger, nullable=False),
    sa.Column("refunded_micros", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("told_at", sa.Double),
    sa.Column("accepted_at", sa.Double),
    sa.Column("who", Words),
    sa.Column("why", Words),
)
"""Disputed statements of a provider about a purchase's money, and a person's acceptance; see `disputes.py`."""

unread_rows = sa.Table(
    "unread_rows",
    metadata,
    sa.Column("account", Id, primary_key=True),
    sa.Column("source", sa.String(16), primary_key=True),
    sa.Column("words", Words, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
"""Rows that were set aside in the last reading of an account's listing or bill."""
