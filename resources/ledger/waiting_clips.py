"""The clips that wait for a person's verdict: their series asks for review, and no take is circled.

Each delivery and verdict writes the row of its clip, so that a reader need not search all clips.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.review_tables import waiting_clips as table
from resources.ledger.schema import attempts, verdicts
from resources.ledger.states import AttemptState
from resources.ledger.waiting_finishes import DAY_SECONDS

POLICY_WAY = "policy"
"""The `way` of verdicts that the series' review policy gives."""


@dataclass(frozen=True)
class WaitingTake:
    """The newest take of a clip that nobody has judged."""

    id: str
    delivered_at: float
    """Seconds since the epoch."""
    within_seconds: int | None
    """How long a person has to judge it; None for no limit."""


@dataclass(frozen=True)
class WaitingClip:
    """A clip that waits for a person."""

    clip: str
    take: str
    """Id of its newest take that nobody has judged."""
    series: str
    decision: str
    """The decision that bought this take."""
    since: float
    """When that take was delivered or the clip last got a verdict, in seconds since the epoch."""
    decide_at: float | None
    """When the series' policy decides; None if there is no time limit, or the policy has held the clip."""
    held_at: float | None
    """When the policy held the clip because nobody judged it; None before."""
    spent_micros: int
    """The cost of all purchases of the clip, in micro-USD."""
    draft_ends_at: float | None = None
    """When the provider deletes that take, if it is a draft that only this provider can finish, in seconds since the epoch; else None."""
    drafts_micros: int = 0
    """The cost of the clip's delivered drafts, in micro-USD."""


def note(connection: sa.Connection, clip: str, take: WaitingTake | None) -> None:
    """Record whether a clip waits.

    Args:
        connection: A transaction that has the lock of the clip.
        take: Its newest take that nobody has judged; None if the clip does not wait.
    """
    connection.execute(sa.delete(table).where(table.c.clip == clip))
    if take is None:
        return
    of_policy = verdicts.c.way == POLICY_WAY
    query = sa.select(
        sa.func.max(sa.case((of_policy, verdicts.c.at))), sa.func.max(sa.case((~of_policy, verdicts.c.at)))
    ).where(verdicts.c.clip == clip)
    policy_at, person_at = connection.execute(query).one()
    since = max(take.delivered_at, person_at or 0.0)
    # the policy decides once after each delivery, so it does not circle a take again that a person took back
    held_at = policy_at if policy_at is not None and policy_at >= take.delivered_at else None
    waits = take.within_seconds is not None and held_at is None
    connection.execute(
        sa.insert(table).values(
            clip=clip,
            attempt_id=take.id,
            since=since,
            decide_at=since + (take.within_seconds or 0) if waits else None,
            held_at=held_at,
        )
    )


_KEPT_DAYS = attempts.c.request[("finish", "days")].as_integer()
_DRAFT_ENDS_AT = sa.case(
    (
        attempts.c.is_draft,
        sa.func.coalesce(attempts.c.finished_at, attempts.c.created_at) + _KEPT_DAYS * DAY_SECONDS,
    )
).label("draft_ends_at")
"""See `resources.ledger.waiting_finishes.end_of`."""


def waiting(ledger: Ledger) -> list[WaitingClip]:
    """The clips that wait for a person: first those that the policy decides soonest, then those that have waited longest."""
    mine = attempts.alias("mine")
    free = mine.c.money_state.in_(["released", "refunded"])
    cost = sa.case((free, 0), else_=sa.func.coalesce(mine.c.charged_micros, mine.c.quoted_micros))
    of_clip = sa.and_(mine.c.subject_kind == "clip", mine.c.subject_key == table.c.clip)
    spent = sa.select(sa.func.coalesce(sa.func.sum(cost), 0)).where(of_clip)
    drafts = spent.where(mine.c.is_draft, mine.c.state == AttemptState.DELIVERED.value)
    query = (
        sa.select(
            table,
            attempts.c.series,
            attempts.c.decision,
            spent.scalar_subquery().label("spent"),
            drafts.scalar_subquery().label("drafts"),
            _DRAFT_ENDS_AT,
        )
        .join(attempts, attempts.c.id == table.c.attempt_id)
        .order_by(table.c.decide_at.is_(None), table.c.decide_at, table.c.since, table.c.clip)
    )
    with ledger.read() as connection:
        return [_read(row) for row in connection.execute(query)]


def due(ledger: Ledger, *, most: int = 500) -> list[str]:
    """The clips that nobody judged in time, earliest first."""
    query = (
        sa.select(table.c.clip)
        .where(table.c.decide_at <= ledger.clock())
        .order_by(table.c.decide_at)
        .limit(most)
    )
    with ledger.read() as connection:
        return list(connection.execute(query).scalars())


def _read(row: sa.Row[Any]) -> WaitingClip:
    return WaitingClip(
        row.clip,
        row.attempt_id,
        row.series,
        row.decision,
        row.since,
        row.decide_at,
        row.held_at,
        int(row.spent),
        row.draft_ends_at,
        int(row.drafts),
    )
