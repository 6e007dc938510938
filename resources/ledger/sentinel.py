"""The sentinel: it stops an account that is charged more than was ordered, for one request or within an hour.

One request is compared with its quote when an answer or the bill states its price. An hour is compared whenever the bill is read.
On a dedicated key every charge counts, also of jobs that this ledger did not order: they come from a leaked key, a program that
repeats the paid POST, or a provider's error. On a shared key only jobs of this ledger count. Both factors are in the `Budget`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from resources.ledger import keys, stops
from resources.ledger.bills import core
from resources.ledger.disputes import is_believable
from resources.ledger.ledger import Ledger
from resources.ledger.records import SPARE
from resources.ledger.schema import NOT_DELIVERED, accounts, attempts, jobs
from resources.ledger.states import AttemptState
from resources.ledger.stops import StopKind
from resources.money import show_usd, usd
from resources.providers.base import Charge

HOUR_SECONDS = 3600.0
SMALL_MICROS = usd("5")
"""An hour's excess up to this amount stops nothing: it may be a job made manually, or by `dailies verify-provider`."""
LOOK_BACK_SECONDS = 6 * 3600.0
"""The age of the oldest hour that is compared."""
LONGEST_JOB_SECONDS = 86_400.0
"""The longest time from a job's order to its charge."""
_OPEN = [state.value for state in (AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD)]


_ORDERS = sa.select(attempts.c.job_id, attempts.c.quoted_micros).where(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.submitted_at >= sa.bindparam("after"),
    attempts.c.job_id.is_not(None),
    attempts.c.subject_kind != SPARE,
)
_ANOTHER = jobs.alias("another")
_LATE = (
    sa.select(attempts.c.job_id, attempts.c.quoted_micros)
    .join(jobs, sa.and_(jobs.c.account == attempts.c.account, jobs.c.job_id == attempts.c.job_id))
    .where(
        attempts.c.account == sa.bindparam("account"),
        attempts.c.submitted_at >= sa.bindparam("after"),
        attempts.c.subject_kind == SPARE,
        jobs.c.submission_id.is_not(None),
        ~sa.exists().where(
            _ANOTHER.c.account == jobs.c.account,
            _ANOTHER.c.submission_id == jobs.c.submission_id,
            _ANOTHER.c.job_id != jobs.c.job_id,
        ),
    )
)
"""Spare takes made by a POST of ours. A POST was sent once, so one job of it was ordered, even if the job turned up late. Further
jobs of a POST were not ordered: the provider repeated it."""
_LOST = sa.select(sa.func.coalesce(sa.func.sum(attempts.c.quoted_micros), 0)).where(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.state.in_(_OPEN),
    NOT_DELIVERED,
)
_FIRST = sa.select(sa.func.min(attempts.c.submitted_at)).where(attempts.c.account == sa.bindparam("account"))


class Hour(NamedTuple):
    """The amounts charged and ordered within one hour."""

    charged_micros: int
    ordered_micros: int
    strangers: tuple[str, ...]
    """Charged jobs that this ledger has not ordered."""


def watch_hours(ledger: Ledger, account: str, charges: Iterable[Charge], *, ahead_seconds: float) -> None:
    """Stop an account if the charges within any hour of a bill exceed the orders by more than the budget's factor.

    Hours before the account was last restarted do not count, so that one excess stops it once.

    Args:
        charges: The rows of its bill.
        ahead_seconds: How far the provider's clock, which dates them, is ahead of ours.
    """
    factor = ledger.budget.hour_factor
    with ledger.read() as connection:
        since = _since(connection, account, ledger.clock())
        rows = sorted((row for row in charges if row.at - ahead_seconds >= since), key=lambda row: row.at)
        if not rows:
            return
        known = {"account": account, "after": rows[0].at - ahead_seconds - LONGEST_JOB_SECONDS}
        ordered_rows = [*connection.execute(_ORDERS, known), *connection.execute(_LATE, known)]
        orders = {core(row.job_id): int(row.quoted_micros) for row in ordered_rows}
        lost = int(connection.execute(_LOST, known).scalar_one())
        dedicated = keys.use_of(connection, account).dedicated
    hour = dearest_hour(rows, orders, dedicated=dedicated)
    # a POST whose answer was lost may have made one of the jobs
    ordered = hour.ordered_micros + (lost if hour.strangers else 0)
    excess = hour.charged_micros - ordered
    if excess <= SMALL_MICROS or hour.charged_micros <= factor * ordered:
        return
    named = ", ".join(hour.strangers[:3]) + (", ..." if len(hour.strangers) > 3 else "")
    reason = (
        f"{account} was charged {show_usd(hour.charged_micros)} within an hour, and {show_usd(ordered)} was ordered; more than "
        f"{factor:g} times as much stops it"
        + (f" (not ordered here: {len(hour.strangers)}, {named})" if named else "")
    )
    with ledger.write() as connection:
        stops.stop_account(connection, account, StopKind.OVERCHARGED, reason, now=ledger.clock())


def _since(connection: sa.Connection, account: str, now: float) -> float:
    """The time from which charges count, in seconds since the epoch."""
    reopened = sa.select(accounts.c.reopened_at).where(accounts.c.account == account)
    times = (
        now - LOOK_BACK_SECONDS,
        connection.execute(reopened).scalar() or 0.0,
        # others may have used the key before
        connection.execute(_FIRST, {"account": account}).scalar() or now,
        keys.key_since(connection, account),
        keys.use_of(connection, account).since,
    )
    # ignore times that a clock which was ahead has written
    return max(float(at) for at in times if at <= now)


def dearest_hour(rows: list[Charge], orders: dict[str, int], *, dedicated: bool) -> Hour:
    """Find the hour in which charges exceed orders most.

    Args:
        rows: The rows of a bill, by time. A refund counts against the charge of its job, in any hour.
        orders: Quotes of this ledger's jobs in micro-USD, by job.
        dedicated: Whether jobs without an order count.
    """
    net, first = dict[str, int](), dict[str, float]()
    for row in rows:
        job = core(row.job_id)
        if not dedicated and job not in orders:
            continue
        net[job] = net.get(job, 0) + (row.micros if row.kind == "charge" else -row.micros)
        first.setdefault(job, row.at)
    # an unbelievable price is disputed, which stops the account already
    net = {
        job: micros if job not in orders or is_believable(orders[job], micros) else orders[job]
        for job, micros in net.items()
    }
    jobs = sorted((at, job) for job, at in first.items())
    worst, begin, charged, ordered = Hour(0, 0, ()), 0, 0, 0
    for end, (at, job) in enumerate(jobs):
        charged, ordered = charged + max(0, net[job]), ordered + orders.get(job, 0)
        while jobs[begin][0] < at - HOUR_SECONDS:
            gone = jobs[begin][1]
            charged, ordered = charged - max(0, net[gone]), ordered - orders.get(gone, 0)
            begin += 1
        if charged - ordered > worst.charged_micros - worst.ordered_micros:
            strangers = tuple(one for _, one in jobs[begin : end + 1] if one not in orders)
            worst = Hour(charged, ordered, strangers)
    return worst
