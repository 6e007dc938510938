"""The circled drafts whose finish is not bought: it was not ordered, it cannot be bought yet, or it failed.

Each verdict and each change of a finish writes the row of its clip, so that a reader need not search all drafts.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.records import CLIP, Attempt
from resources.ledger.review_tables import waiting_finishes as table
from resources.ledger.schema import attempts, take_verdicts
from resources.ledger.states import FINISHED_BY

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class WaitingFinish:
    """A circled draft without a finish."""

    clip: str
    draft: Attempt
    since: float
    """Since when it waits, seconds since the epoch."""
    ends_at: float | None
    """When the provider deletes the draft, in seconds since the epoch; None if the finish does not need it."""
    decision: str | None
    """The order to buy the finish; None while nobody who may buy has given one."""
    at_most_micros: int | None
    """The price that was agreed to, with every try and fallback, in micro-USD."""
    ordered_by: str | None
    """Who gave the order."""
    reason: str | None
    """Why an ordered finish is not bought, or why the last one failed."""


def end_of(draft: Attempt) -> float | None:
    """When the provider deletes a draft, in seconds since the epoch; None if its finish does not need it."""
    order = draft.request.finish
    if order is None or order.days is None:
        return None
    return (draft.finished_at or draft.created_at) + order.days * DAY_SECONDS


def circled_draft(connection: sa.Connection, clip: str) -> Attempt | None:
    """The draft that is circled in a clip, None without one."""
    query = (
        sa.select(attempts)
        .join(take_verdicts, take_verdicts.c.attempt_id == attempts.c.id)
        .where(take_verdicts.c.clip == clip, take_verdicts.c.word == "circled", attempts.c.is_draft)
    )
    row = connection.execute(query).first()
    return None if row is None else Attempt.from_row(row)


def is_circled(connection: sa.Connection, finish: Attempt) -> bool:
    """Whether the draft of a finish is still circled."""
    draft = circled_draft(connection, finish.clip)
    return draft is not None and draft.id == finish.finishes


def finish_of(connection: sa.Connection, draft: str) -> Attempt | None:
    """The finish of a draft that is bought, on its way, delivered or in quarantine; None without one."""
    query = sa.select(attempts).where(
        attempts.c.finishes == draft,
        attempts.c.subject_kind == CLIP,
        attempts.c.state.in_([state.value for state in FINISHED_BY]),
    )
    row = connection.execute(query).first()
    return None if row is None else Attempt.from_row(row)


def note(connection: sa.Connection, clip: str, *, now: float, reason: str | None = None) -> None:
    """Write whether the circled draft of a clip lacks its finish.

    Args:
        connection: A transaction that has the lock of the clip.
        now: Seconds since the epoch.
        reason: Why the last finish is missing. The next one has to be ordered anew.
    """
    draft = circled_draft(connection, clip)
    if draft is None or finish_of(connection, draft.id) is not None:
        connection.execute(sa.delete(table).where(table.c.clip == clip))
        return
    there = connection.execute(sa.select(table.c.draft).where(table.c.clip == clip)).scalar()
    if there == draft.id and reason is None:
        return
    connection.execute(sa.delete(table).where(table.c.clip == clip))
    row = {"clip": clip, "draft": draft.id, "since": now, "ends_at": end_of(draft), "reason": reason}
    connection.execute(insert_ignoring(connection, table), row)


def follow(connection: sa.Connection, finish: Attempt, *, now: float) -> None:
    """Write what a new or changed finish means for its draft; nothing for an attempt that finishes none. Arguments as of `note`."""
    if finish.finishes is None or finish.subject_kind != CLIP:
        return
    if finish.state in FINISHED_BY:
        note(connection, finish.clip, now=now)
    else:
        why = f"{finish.state.value}: {finish.reason}" if finish.reason else finish.state.value
        explain(connection, finish, why, now=now)


def explain(connection: sa.Connection, finish: Attempt, why: str, *, now: float) -> None:
    """Write why a finish left its draft without one, unless another draft of the clip is circled meanwhile. Arguments as of `note`."""
    note(connection, finish.clip, now=now, reason=why if is_circled(connection, finish) else None)


def waiting(connection: sa.Connection, *, clip: str | None = None, most: int = 10_000) -> list[WaitingFinish]:
    """The circled drafts without a finish, those first that end first, then the longest wait.

    Args:
        clip: Only this one.
    """
    query = (
        sa.select(table)
        .order_by(table.c.ends_at.is_(None), table.c.ends_at, table.c.since, table.c.clip)
        .limit(most)
    )
    if clip is not None:
        query = query.where(table.c.clip == clip)
    rows = list(connection.execute(query))
    drafts: dict[str, Attempt] = {}
    for some in chunks([row.draft for row in rows]):
        draft_rows = connection.execute(sa.select(attempts).where(attempts.c.id.in_(some)))
        drafts |= {attempt.id: attempt for attempt in map(Attempt.from_row, draft_rows)}
    return [
        WaitingFinish(
            row.clip,
            drafts[row.draft],
            row.since,
            row.ends_at,
            row.decision,
            row.at_most_micros,
            row.ordered_by,
            row.reason,
        )
        for row in rows
    ]
