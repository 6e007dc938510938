"""What an account allows: places, submits a minute, and the pauses it asked for. The same for all processes."""

from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import apart
from resources.ledger.database import insert_ignoring
from resources.ledger.schema import accounts, attempts, submissions
from resources.ledger.states import IN_FLIGHT, SubmissionState
from resources.ledger.stops import Stop

LEASE_MARGIN_SECONDS = 30
"""How long after the hard deadline of a POST its poster is given up for dead."""
LONGEST_LEASE_SECONDS = 630.0
"""The longest deadline that a POST may be given (`submit_deadline_seconds`), and the margin. A lease that ends later was
dated by a clock that was ahead."""
WINDOW_SECONDS = 60
THROTTLE_SECONDS = 30
"""Wait after a 429 without Retry-After (AI/ML API sends none as far as was probed)."""
LONGEST_THROTTLE_SECONDS = 600
"""What the wait grows to when every try after it is throttled again, unless the provider asks for more."""
LONGEST_PAUSE_SECONDS = 900.0
"""What a provider may ask us to wait at most: one answer must not stop all buying for a day. A pause that ends later was
dated by a clock that was ahead."""
IN_ORDER_UP_TO = 20
"""An account that allows no more than so many is sent to one POST at a time: fresh connections overtake each other, and
so few leave time enough to have each answered before the next."""


@dataclass(frozen=True)
class Limits:
    """What an account allows, across all processes. None is no limit.

    Attributes:
        in_flight: Jobs at the provider at one time; an unknown submit fills a place until its endpoint's longest time.
        per_minute: Submits in any 60 seconds.
    """

    in_flight: int | None = None
    per_minute: int | None = None

    @property
    def in_order(self) -> bool:
        """Whether its POSTs arrive in the order of the queue, because they go one at a time."""
        return any(
            limit is not None and limit <= IN_ORDER_UP_TO for limit in (self.in_flight, self.per_minute)
        )


@dataclass(frozen=True)
class Later:
    """Something is queued, and may not be sent yet.

    Attributes:
        at: When to ask again, seconds since the epoch.
        why: One sentence for a person.
        posting: Whether it waits for the answer to a POST that is on its way, whose end may come any moment.
        lost: Whether it waits for a lost answer to be found.
        stop: What must end first, where buying is stopped.
    """

    at: float
    why: str
    posting: bool = False
    lost: bool = False
    stop: Stop | None = None


_NOT_BEFORE = (
    sa.select(accounts.c.not_before).where(accounts.c.account == sa.bindparam("account")).with_for_update()
)


def lock_account(connection: sa.Connection, account: str) -> float:
    """Serialise the claims of one account, and say when the pause that it asked for ends; see `LONGEST_PAUSE_SECONDS`."""
    not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    if not_before is None:
        insert = insert_ignoring(connection, accounts)
        connection.execute(insert.values(account=account))
        not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    return float(not_before or 0)


def over_limit(connection: sa.Connection, account: str, limits: Limits, now: float) -> Later | None:
    """Why an account may not be sent to now, None when it may. Its row must be locked."""
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
                # none that began before has a deadline within the window, and history grows for years
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
                # one that is on its way will be answered long before its deadline
                min(arrivals[-1], now) + WINDOW_SECONDS,
                f"{limits.per_minute} submits a minute to {account} are used up",
            )
    return None


def _arrived_at_the_latest() -> sa.ColumnElement[float]:
    """By when a POST has reached the provider, which counts its minute from then: at its answer, or else its deadline."""
    deadline = submissions.c.lease_until - LEASE_MARGIN_SECONDS
    return sa.case((submissions.c.ended_at < deadline, submissions.c.ended_at), else_=deadline)


def calm_down(connection: sa.Connection, account: str) -> None:
    """Forget earlier throttles: the account takes orders again."""
    connection.execute(
        sa.update(accounts).where(accounts.c.account == account, accounts.c.throttles > 0).values(throttles=0)
    )
