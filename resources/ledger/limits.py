"""Limits of an account across all processes: jobs in flight, submits a minute, pauses, and the spacing of POSTs.

POSTs of one endpoint are spaced: the job of a POST whose answer was lost must differ from other jobs. Some jobs
name their POST: the provider echoes our submission id, or it shows the job's request and the POST has its own seed. Such POSTs
only slow down while an outcome is unknown. All other jobs have only a time and a model: POSTs of one endpoint go one after the
other, and wait while the job of a lost POST may still be created, usually a few seconds until the listing shows it.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.schema import NOT_DELIVERED, accounts, attempts, is_any_of, submissions
from resources.ledger.states import IN_FLIGHT, AttemptState, SubmissionState
from resources.ledger.stops import Stop

LEASE_MARGIN_SECONDS = 30
"""How long after the hard deadline of a POST its poster counts as dead."""
LONGEST_LEASE_SECONDS = 630.0
"""The longest `submit_deadline_seconds`, and the margin. A lease that ends later was dated by a clock that was ahead."""
WINDOW_SECONDS = 60
THROTTLE_SECONDS = 30
"""The pause after a 429 without `Retry-After` (AI/ML API sent none in our probes)."""
LONGEST_THROTTLE_SECONDS = 600
"""The longest pause after repeated throttles, unless the provider asks for a longer one."""
LONGEST_PAUSE_SECONDS = 900.0
"""The longest `Retry-After` that is obeyed: one answer must not stop all buying for a day. A pause that ends later was dated by a
clock that was ahead."""
IN_ORDER_UP_TO = 20
"""Small accounts get one POST at a time: parallel connections may arrive out of order, and few POSTs a minute leave enough time
for each answer."""
ACCEPTANCE_SECONDS = 30.0
"""How long after a POST broke off the provider may still create its job, in seconds."""
OFFSET_SECONDS = 5.0
"""How much longer than `ACCEPTANCE_SECONDS` the next POST waits. A provider's clock is known to within two seconds and a round
trip, and each job must fall into the time of one POST only."""
FRESH_SECONDS = 5.0
"""How long a POST in flight blocks other POSTs of an untraceable endpoint; POSTs take about a second."""
POSTING_SECONDS = 20.0
"""How long a POST in flight blocks other POSTs of its endpoint while an outcome is unknown, since its poster may be dead."""

_UNDECIDED_POSTS = (
    sa.select(
        attempts.c.endpoint,
        attempts.c.state,
        submissions.c.state.label("post"),
        submissions.c.started_at,
        submissions.c.ended_at,
        submissions.c.lease_until,
        submissions.c.seed,
    )
    .outerjoin(submissions, submissions.c.attempt_id == attempts.c.id)
    .where(
        attempts.c.account == sa.bindparam("account"),
        is_any_of(attempts.c.state, [AttemptState.SUBMITTING, AttemptState.UNKNOWN]),
        NOT_DELIVERED,
    )
)
_POSTING = sa.select(
    sa.exists().where(
        submissions.c.account == sa.bindparam("account"),
        submissions.c.state == SubmissionState.OPEN.value,
        submissions.c.lease_until > sa.bindparam("now"),
    )
)
_FLYING = (
    sa.select(sa.func.count())
    .select_from(attempts)
    .where(
        attempts.c.account == sa.bindparam("account"),
        is_any_of(attempts.c.state, IN_FLIGHT),
        NOT_DELIVERED,
        sa.or_(attempts.c.overdue_at.is_(None), attempts.c.overdue_at > sa.bindparam("now")),
    )
)
_DEADLINE = submissions.c.lease_until - LEASE_MARGIN_SECONDS
_ARRIVED = sa.case((submissions.c.ended_at < _DEADLINE, submissions.c.ended_at), else_=_DEADLINE)
"""The latest time at which a POST can have reached the provider: its answer or its deadline. The provider's minute begins there."""
_RECENT = (
    sa.select(_ARRIVED)
    .where(
        submissions.c.account == sa.bindparam("account"),
        # an earlier POST has no deadline within the window; without this line, the query reads years of history
        submissions.c.started_at > sa.bindparam("earliest"),
        sa.bindparam("since") < _ARRIVED,
        sa.bindparam("until") >= _ARRIVED,
        submissions.c.state != SubmissionState.NOT_SENT.value,
    )
    .order_by(_ARRIVED.desc())
    .limit(sa.bindparam("limit"))
)


@dataclass(frozen=True)
class Limits:
    """The limits of an account across all processes. None is no limit."""

    in_flight: int | None = None
    """The most jobs at the provider at one time. An unknown POST fills a slot until its endpoint's longest job time is over."""
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
    """The reason why nothing of a queue may be sent yet."""

    at: float
    """When to ask again, seconds since the epoch."""
    why: str
    """One sentence for a person."""
    posting: bool = False
    """Whether the queue waits for the answer to a POST in flight, which may come at any moment."""
    lost: bool = False
    """Whether the queue waits for a lost answer to be found."""
    refused: bool = False
    """Whether this host may buy nothing, since its settings are not the policy in force."""
    stop: Stop | None = None
    """The stop that must end first, where buying is stopped."""


_NOT_BEFORE = (
    sa.select(accounts.c.not_before).where(accounts.c.account == sa.bindparam("account")).with_for_update()
)


def lock_account(connection: sa.Connection, account: str) -> float:
    """Let one transaction at a time claim POSTs of an account. Returns the end of the account's pause, 0 without one."""
    not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    if not_before is None:
        insert = insert_ignoring(connection, accounts)
        connection.execute(insert.values(account=account))
        not_before = connection.execute(_NOT_BEFORE, {"account": account}).scalar()
    return float(not_before or 0)


def over_limit(connection: sa.Connection, account: str, limits: Limits, now: float) -> Later | None:
    """Why nothing may be sent to an account now; None if something may. The account must be locked."""
    if limits.in_flight is not None:
        flying = connection.execute(_FLYING, {"account": account, "now": now}).scalar_one()
        if flying >= limits.in_flight:
            return Later(now + 1, f"all {limits.in_flight} places of {account} are taken")
    if limits.in_order and posting(connection, account, now):
        return Later(now + 0.2, f"a submit to {account} is on its way", posting=True)
    if limits.per_minute is not None:
        window = {
            "earliest": now - WINDOW_SECONDS - LONGEST_LEASE_SECONDS,
            "since": now - WINDOW_SECONDS,
            "until": now + LONGEST_LEASE_SECONDS,
        }
        known = {"account": account, "limit": limits.per_minute, **window}
        arrivals = list(connection.execute(_RECENT, known).scalars())
        if len(arrivals) >= limits.per_minute:
            return Later(
                # a POST in flight is answered long before its deadline
                min(arrivals[-1], now) + WINDOW_SECONDS,
                f"{limits.per_minute} submits a minute to {account} are used up",
            )
    return None


def calm_down(connection: sa.Connection, account: str) -> None:
    """Forget earlier throttles, because the account has accepted an order."""
    connection.execute(
        sa.update(accounts).where(accounts.c.account == account, accounts.c.throttles > 0).values(throttles=0)
    )


# The spacing of POSTs


def blocked_endpoints(
    connection: sa.Connection, account: str, now: float, *, traceable: bool, seeds_tell: bool = False
) -> frozenset[str]:
    """The endpoints of an account that must wait because of their other POSTs. The account must be locked.

    Args:
        now: Seconds since the epoch.
        traceable: Whether the provider's listing names our submission ids.
        seeds_tell: Whether the listing shows each job's request, whose seed names the POST if the POST has its own seed.
    """
    posts = connection.execute(_UNDECIDED_POSTS, {"account": account}).all()
    unknown = {post.endpoint for post in posts if post.state == AttemptState.UNKNOWN.value}
    in_flight = [
        post
        for post in posts
        if (post.state, post.post) == (AttemptState.SUBMITTING.value, SubmissionState.OPEN.value)
    ]
    blocked = {
        post.endpoint
        for post in in_flight
        if post.endpoint in unknown and post.started_at > now - POSTING_SECONDS
    }
    if not traceable:
        if seeds_tell:
            in_flight = [post for post in in_flight if post.seed is None]
            posts = [post for post in posts if post.seed is None]
        accepted_since = now - ACCEPTANCE_SECONDS - OFFSET_SECONDS
        blocked |= {post.endpoint for post in in_flight if post.started_at > now - FRESH_SECONDS}
        # its job may still be created
        blocked |= {
            post.endpoint
            for post in posts
            if (post.state, post.post) == (AttemptState.UNKNOWN.value, SubmissionState.UNKNOWN.value)
            and min(post.ended_at or 0.0, post.lease_until) > accepted_since
        }
    return frozenset(blocked)


def posting(connection: sa.Connection, account: str, now: float) -> bool:
    """Whether a POST of an account is in flight."""
    return bool(connection.execute(_POSTING, {"account": account, "now": now}).scalar())
