"""What an account allows across all processes: jobs in flight, submits a minute, and pauses."""

from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import apart
from resources.ledger.database import insert_ignoring
from resources.ledger.schema import accounts, attempts, submissions
from resources.ledger.states import IN_FLIGHT, SubmissionState
from resources.ledger.stops import Stop

LEASE_MARGIN_SECONDS = 30
"""How long after the hard deadline of a POST its poster counts as dead."""
LONGEST_LEASE_SECONDS = 630.0
"""The longest `submit_deadline_seconds`, and the margin. A clock that was ahead has dated a lease that ends later."""
WINDOW_SECONDS = 60
THROTTLE_SECONDS = 30
"""The pause after a 429 without `Retry-After` (AI/ML API sent none in our probes)."""
LONGEST_THROTTLE_SECONDS = 600
"""How long the pause grows when every try after it is throttled again, unless the provider asks for a longer one."""
LONGEST_PAUSE_SECONDS = 900.0
"""The longest `Retry-After` that is obeyed: one answer must not stop all buying for a day. A clock that was ahead has dated a
pause that ends later."""
IN_ORDER_UP_TO = 20
"""Small accounts get one POST at a time: parallel connections may arrive out of order, and so few POSTs leave time enough to
have each answered before the next."""


@dataclass(frozen=True)
class Limits:
    """What an account allows across all processes. None is no limit."""

    in_flight: int | None = None
    """Jobs at the provider at one time. An unknown POST fills a slot until its endpoint's longest time is over."""
    per_minute: int | None = None
    """Submits in any 60 seconds."""

    @property
    def in_order(self) -> bool:
        """Whether POSTs go one at a time, so that they arrive in the order of the queue."""
        return any(
            limit is not None and limit <= IN_ORDER_UP_TO for limit in (self.in_flight, self.per_minute)
        )


@dataclass(frozen=True)
class Later:
    """The queue is not empty, and nothing of it may be sent yet."""

    at: float
    """When to ask again, seconds since the epoch."""
    why: str
    """One sentence for a person."""
    posting: bool = False
    """Whether the queue waits for the answer to a POST in flight, which may come any moment."""
    lost: bool = False
    """Whether the queue waits for a lost answer to be found."""
    stop: Stop | None = None
    """The stop that must end first, where buying is stopped."""


_NOT_BEFORE = (
    sa.select(accounts.c.not_before).where(accounts.c.account == sa.bindparam("account")).with_for_update()
)


def lock_account(connection: sa.Connection, account: str) -> float:
    """Let one transaction at a time claim at an account. Returns when the account's pause ends, 0 where it has none."""
    not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    if not_before is None:
        insert = insert_ignoring(connection, accounts)
        connection.execute(insert.values(account=account))
        not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    return float(not_before or 0)


def over_limit(connection: sa.Connection, account: str, limits: Limits, now: float) -> Later | None:
    """Why nothing may be sent to an account now, None when it may. The account must be locked."""
    if limits.in_flight is not None:
        flying = connection.execute(
            sa.select(sa.func.count()).where(
                attempts.c.account == account,
                attempts.c.state.in_([s.value for s in IN_FLIGHT]),
                sa.or_(attempts.c.overdue_at.is_(None), attempts.c.overdue_at > now),
            )
        ).scalar_one()
        if flying >= limits.in_flight:
            return Later(now + 1, f"all {limits.in_flight} places of {account} are taken")
    if limits.in_order and apart.posting(connection, account, now):
        return Later(now + 0.2, f"a submit to {account} is on its way", posting=True)
    if limits.per_minute is not None:
        arrived = _arrived_at_the_latest()
        recent = connection.execute(
            sa.select(arrived)
            .where(
                submissions.c.account == account,
                # an earlier POST has no deadline within the window; without this line the query reads years of history
                submissions.c.started_at > now - WINDOW_SECONDS - LONGEST_LEASE_SECONDS,
                arrived > now - WINDOW_SECONDS,
                arrived <= now + LONGEST_LEASE_SECONDS,
                submissions.c.state != SubmissionState.NOT_SENT.value,
            )
            .order_by(arrived.desc())
            .limit(limits.per_minute)
        ).scalars()
        arrivals = list(recent)
        if len(arrivals) >= limits.per_minute:
            return Later(
                # a POST in flight is answered long before its deadline
                min(arrivals[-1], now) + WINDOW_SECONDS,
                f"{limits.per_minute} submits a minute to {account} are used up",
            )
    return None


def _arrived_at_the_latest() -> sa.ColumnElement[float]:
    """The latest time at which a POST has reached the provider, which counts its minute from there: its answer or deadline."""
    deadline = submissions.c.lease_until - LEASE_MARGIN_SECONDS
    return sa.case((submissions.c.ended_at < deadline, submissions.c.ended_at), else_=deadline)


def calm_down(connection: sa.Connection, account: str) -> None:
    """Forget earlier throttles, since the account has accepted an order."""
    connection.execute(
        sa.update(accounts).where(accounts.c.account == account, accounts.c.throttles > 0).values(throttles=0)
    )
