"""The mark that a ledger leaves in its bucket: its newest journal entry, and the paid purchases that are not stored yet.

The number of the newest entry is not enough, because a restored copy continues the numbers. The mark also identifies the entry
itself, so that a ledger with another history is recognised whatever the length of its journal.
"""

import uuid
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import NOT_DELIVERED, attempts, journal, meta, submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.orders import FinishedDraft

ON_THEIR_WAY = (
    AttemptState.SUBMITTING,
    AttemptState.UNKNOWN,
    AttemptState.HELD,
    AttemptState.SUBMITTED,
    AttemptState.OVERDUE,
    AttemptState.SUCCEEDED,
)
"""States of purchases that are or may be paid for and are not in the bucket yet."""


_NEWEST_ENTRY = sa.select(journal).where(
    journal.c.seq == sa.select(sa.func.max(journal.c.seq)).scalar_subquery()
)


class OnItsWay(BaseModel):
    """A purchase that is or may be paid for, and is not in the bucket yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    clip: str
    slot: int = 1
    """The take's slot; see `resources.orders.TakeSlot`."""
    seed: int | None = None
    """The seed that was sent; None if the provider chose one."""
    finishes: FinishedDraft | None = None
    """The draft that it finishes; None if it finishes none."""
    draft: bool = False
    """Whether it is a draft."""
    series: str
    fingerprint: str
    """The fingerprint of its request, which `prompts/` holds."""
    provider: str
    account: str
    endpoint: str
    attempt: str
    """Id of the attempt."""
    decision: str
    """Id of the decision."""
    submission: str
    """Id of the POST."""
    job: str | None
    """The provider's id of the job; None while it is not known."""
    sent_at: float
    """When the POST was sent, seconds since the epoch."""
    quoted_micros: int
    """Its price in micro-USD."""


class Mark(BaseModel):
    """The state of a ledger when it last wrote its mark."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ledger: str
    """The ledger's id."""
    seq: int = 0
    """Number of its newest journal entry, 0 for none."""
    entry: str | None = None
    """The attempt, version and time of that entry."""
    at: float | None = None
    """When that entry was written, seconds since the epoch."""
    on_their_way: tuple[OnItsWay, ...] = ()
    """The purchases that are not in the bucket yet."""


def mark_of(ledger: Ledger) -> Mark:
    """The ledger's present mark."""
    with ledger.read() as connection:
        name = connection.execute(sa.select(meta.c.value).where(meta.c.key == "ledger_id")).scalar_one()
        newest = connection.execute(_NEWEST_ENTRY).first()
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
    """Whether a mark is part of this ledger's history. If so, the ledger knows everything that was bought before the mark."""
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
    """Give the ledger a new id, so that the bucket refuses a copy of it that is still in use somewhere."""
    ledger.id = uuid.uuid4().hex
    with ledger.write() as connection:
        connection.execute(sa.update(meta).where(meta.c.key == "ledger_id").values(value=ledger.id))
    return ledger.id


def replace_fact(ledger: Ledger, key: str, value: str) -> None:
    """Keep a fact, replacing the fact that the ledger keeps under its key."""
    with ledger.write() as connection:
        connection.execute(insert_ignoring(connection, meta).values(key=key, value=value))
        connection.execute(sa.update(meta).where(meta.c.key == key).values(value=value))


def _named(entry: sa.Row[Any]) -> str:
    return f"{entry.attempt_id}:{entry.version}:{entry.at:.6f}"


def _sent_seed(request: dict[str, Any]) -> int | None:
    """The seed in a stored request; a mark is written often, so the request is not parsed."""
    seed = (request.get("body") or {}).get((request.get("seed") or {}).get("name"))
    return seed if isinstance(seed, int) and seed >= 0 else None


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
        sa.select(
            attempts, submissions.c.id.label("submission"), submissions.c.started_at, submissions.c.seed
        )
        .join(submissions, submissions.c.attempt_id == attempts.c.id)
        .where(
            attempts.c.state.in_([state.value for state in ON_THEIR_WAY]),
            NOT_DELIVERED,
            submissions.c.state.not_in(came_to_nothing),
        )
        .order_by(attempts.c.seq)
    )
    return [
        OnItsWay(
            clip=row.subject_key,
            slot=row.slot,
            seed=_sent_seed(row.request) if row.seed is None else row.seed,
            finishes=row.request.get("finishes"),
            draft=row.is_draft,
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
