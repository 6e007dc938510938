"""What the bucket's mark says about a ledger: how far its journal goes, and what it has paid for that is not stored yet.

A journal's number alone would not do: a copy that was restored goes on counting. The entry behind the number is named
too, so that a ledger with another history is recognised however long its journal has become.
"""

import uuid
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts, journal, meta, submissions
from resources.ledger.states import AttemptState, SubmissionState

ON_THEIR_WAY = (
    AttemptState.SUBMITTING,
    AttemptState.UNKNOWN,
    AttemptState.HELD,
    AttemptState.SUBMITTED,
    AttemptState.OVERDUE,
    AttemptState.SUCCEEDED,
)
"""States of purchases that are paid for, or may be, and are not in the bucket."""


class OnItsWay(BaseModel):
    """A purchase that is paid for, or may be, and is not in the bucket yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    clip: str
    """The clip's key."""
    series: str
    """The series that declares it."""
    fingerprint: str
    """Of its request, which `prompts/` holds."""
    provider: str
    """Who makes it."""
    account: str
    """Who pays."""
    endpoint: str
    """What was asked for."""
    attempt: str
    """The purchase."""
    decision: str
    """What it belongs to."""
    submission: str
    """Its POST."""
    job: str | None
    """The provider's own id, None while it is not known."""
    sent_at: float
    """When the POST went out, seconds since the epoch."""
    quoted_micros: int
    """What it costs, in micro-dollars."""


class Mark(BaseModel):
    """How far a ledger was when it last showed itself in its bucket."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ledger: str
    """Its id."""
    seq: int = 0
    """Number of its newest journal entry, 0 for none."""
    entry: str | None = None
    """That entry: the attempt, its version and the time."""
    at: float | None = None
    """When it was written, seconds since the epoch."""
    on_their_way: tuple[OnItsWay, ...] = ()
    """What is paid for and not in the bucket yet."""


def mark_of(ledger: Ledger) -> Mark:
    """The ledger's mark as it stands now."""
    with ledger.read() as connection:
        name = connection.execute(sa.select(meta.c.value).where(meta.c.key == "ledger_id")).scalar_one()
        newest = connection.execute(sa.select(journal).order_by(journal.c.seq.desc()).limit(1)).first()
        if newest is None:
            return Mark(ledger=name)
        return Mark(
            ledger=name,
            seq=newest.seq,
            entry=_named(newest),
            at=newest.at,
            on_their_way=tuple(_on_their_way(connection)),
        )


def knows(ledger: Ledger, mark: Mark) -> bool:
    """Whether a mark is part of this ledger's own history: then nothing was bought that it does not know of."""
    if mark.seq == 0:
        return True
    with ledger.read() as connection:
        entry = connection.execute(sa.select(journal).where(journal.c.seq == mark.seq)).first()
        return entry is not None and _named(entry) == mark.entry


def newest_seq(ledger: Ledger) -> int:
    """Number of the newest journal entry, 0 for none."""
    with ledger.read() as connection:
        return connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0


def renew_id(ledger: Ledger) -> str:
    """Give the ledger a new id, so that a copy of it that is still at work somewhere is refused by the bucket."""
    ledger.id = uuid.uuid4().hex
    with ledger.write() as connection:
        connection.execute(sa.update(meta).where(meta.c.key == "ledger_id").values(value=ledger.id))
    return ledger.id


def replace_fact(ledger: Ledger, key: str, value: str) -> None:
    """Keep a fact in place of the one that is kept."""
    with ledger.write() as connection:
        connection.execute(insert_ignoring(connection, meta).values(key=key, value=value))
        connection.execute(sa.update(meta).where(meta.c.key == key).values(value=value))


def _named(entry: sa.Row[Any]) -> str:
    return f"{entry.attempt_id}:{entry.version}:{entry.at:.6f}"


def _on_their_way(connection: sa.Connection) -> list[OnItsWay]:
    came_to_nothing = [
        state.value
        for state in (
            SubmissionState.NOT_SENT,
            SubmissionState.THROTTLED,
            SubmissionState.REJECTED,
            SubmissionState.ABSENT,
        )
    ]
    rows = connection.execute(
        sa.select(attempts, submissions.c.id.label("submission"), submissions.c.started_at)
        .join(submissions, submissions.c.attempt_id == attempts.c.id)
        .where(
            attempts.c.state.in_([state.value for state in ON_THEIR_WAY]),
            submissions.c.state.not_in(came_to_nothing),
        )
        .order_by(attempts.c.seq)
    )
    return [
        OnItsWay(
            clip=row.subject_key,
            series=row.series,
            fingerprint=row.fingerprint,
            provider=row.provider,
            account=row.account,
            endpoint=row.endpoint,
            attempt=row.id,
            decision=row.decision,
            submission=row.submission,
            job=row.job_id,
            sent_at=row.started_at,
            quoted_micros=row.quoted_micros,
        )
        for row in rows
    ]
