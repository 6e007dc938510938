"""How long an account's listing lags behind: measured on our own jobs, since a miss proves something only against it.

Nothing is bought again on the strength of a miss before enough jobs were seen to appear, and only while the settle time
is a good multiple of the slowest of them.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.schema import attempts, jobs, lags, submissions
from resources.providers.base import ClockOffset

ENOUGH = 20
"""Lags that must have been seen before a miss is believed."""
MARGIN = 3.0
"""How many times the largest lag seen the settle time must be."""
EXACT_SECONDS = 20.0
"""A job's lag lies between the last reading that missed it and the first that shows it; readings that are further apart
than this say only that it is no less."""
EARLY_SECONDS = 5.0
"""A job that is listed so long before the time it is given was dated by another clock."""
MEASURED_FOR_SECONDS = 900.0
LOOKED_BACK_SECONDS = 900.0
"""A reading has listed what was created within so long before it, so that a job which is older and new to us says nothing."""

_SEEN = sa.select(sa.func.count(lags.c.seconds), sa.func.max(lags.c.seconds)).where(
    lags.c.account == sa.bindparam("account"), lags.c.seconds >= 0
)
_UNMEASURED_SINCE = sa.select(sa.func.min(attempts.c.submitted_at)).where(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.job_id.is_not(None),
    attempts.c.submitted_at > sa.bindparam("after"),
    ~sa.exists().where(lags.c.account == attempts.c.account, lags.c.job_id == attempts.c.job_id),
)


@dataclass(frozen=True)
class Lags:
    """What is known of an account's lag after a reading.

    Attributes:
        known: How many lags were ever seen.
        largest: The largest of them, or the age of a job of ours that is still not listed, in seconds.
        new: Jobs that were listed for the first time now, with their lag in seconds, None where the reading before was
            too long ago to tell; less than nothing for a job that was listed before the time it is given.
        early: Whether such a job is in the listing.
    """

    known: int
    largest: float
    new: Mapping[str, float | None]
    early: bool = False

    def doubt(self, settle_seconds: float) -> str | None:
        """Why a miss proves nothing on this account, None when it does."""
        if self.known < ENOUGH:
            return (
                f"a miss is believed only when {ENOUGH} jobs of the account were seen to appear in its listing, and so far "
                f"{self.known} were"
            )
        if self.largest * MARGIN > settle_seconds:
            return (
                f"a job took {self.largest:.0f} s to appear in the listing, which is more than a third of the settle time of "
                f"{settle_seconds:.0f} s"
            )
        return None


def are_known(connection: sa.Connection, account: str, settle_seconds: float, *, since: float) -> bool:
    """Whether a miss on this account means something by lags of which the last was seen since a time."""
    count, largest = _seen(connection, account)
    last = connection.execute(
        sa.select(sa.func.max(lags.c.seen_at)).where(lags.c.account == account, lags.c.seconds >= 0)
    ).scalar()
    return last is not None and last >= since and Lags(count, largest, {}).doubt(settle_seconds) is None


def unmeasured_since(connection: sa.Connection, account: str, now: float) -> float | None:
    """When the oldest young job of ours was submitted whose lag is still to be seen; None when there are lags enough."""
    if _seen(connection, account)[0] >= ENOUGH:
        return None
    young = {"account": account, "after": now - MEASURED_FOR_SECONDS}
    since = connection.execute(_UNMEASURED_SINCE, young).scalar()
    return None if since is None else float(since)


def measure(
    connection: sa.Connection,
    account: str,
    *,
    created: Mapping[str, float],
    since: float,
    until: float | None,
    began_at: float,
    ended_at: float,
    offset: ClockOffset,
    last_read_at: float | None,
) -> Lags:
    """What a reading says about the lag.

    Args:
        connection: A view of the ledger.
        account: Whose listing.
        created: When the provider says it created each listed job, by the provider's clock; whose it is does not matter, and
            a job of ours may be known to be ours only long after it was listed.
        since: From when on the listing was read, by our clock.
        until: Until when it was read, None for up to now. A look back says nothing new about lags; a job of ours that it
            does not show is one that the listing hides.
        began_at: When the reading began, by our clock.
        ended_at: When it had ended.
        offset: How far the provider's clock is ahead of ours.
        last_read_at: When the listing was read before, by the provider's clock: whoever read it may have another than ours.
    """
    known, largest = _seen(connection, account)
    measured = _measured(connection, account, created)
    new: dict[str, float | None] = {}
    for job_id, created_at in created.items() if until is None else ():
        most = max(0.0, began_at + offset.high - created_at)
        least = 0.0 if last_read_at is None else max(0.0, last_read_at - created_at)
        if job_id in measured:
            continue
        early_by = created_at - (ended_at + offset.high)
        if early_by > EARLY_SECONDS:
            new[job_id] = -early_by
        elif least > LOOKED_BACK_SECONDS:
            new[job_id] = None
        elif most - least <= EXACT_SECONDS:
            new[job_id] = most
        else:
            new[job_id] = least if least > EXACT_SECONDS else None
    posted_at = submissions.c.started_at + submissions.c.clock_high
    ours = connection.execute(
        sa.select(attempts.c.job_id, attempts.c.submitted_at, posted_at)
        .outerjoin(jobs, (jobs.c.account == account) & (jobs.c.job_id == attempts.c.job_id))
        .outerjoin(submissions, submissions.c.id == jobs.c.submission_id)
        .where(
            attempts.c.account == account,
            attempts.c.job_id.is_not(None),
            attempts.c.submitted_at.between(since, math.inf if until is None else until),
        )
    )
    missing = [
        began_at - submitted_at if there is None else began_at + offset.low - there
        for job_id, submitted_at, there in ours
        if job_id not in created
    ]
    told = [seconds for seconds in new.values() if seconds is not None and seconds >= 0]
    early = any((seconds or 0) < 0 for seconds in (*new.values(), *measured.values()))
    return Lags(known + len(told), max([largest, *told, *missing]), new, early)


def note(connection: sa.Connection, account: str, seen: Lags, *, now: float) -> None:
    """Write down the lags that were seen now."""
    for job_id, seconds in seen.new.items():
        connection.execute(
            insert_ignoring(connection, lags).values(
                account=account, job_id=job_id, seconds=seconds, seen_at=now
            )
        )


def _measured(connection: sa.Connection, account: str, job_ids: Collection[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    ids = sorted(job_ids)
    for some in chunks(ids):
        query = sa.select(lags.c.job_id, lags.c.seconds).where(
            lags.c.account == account, lags.c.job_id.in_(some)
        )
        found.update((row.job_id, row.seconds) for row in connection.execute(query))
    return found


def _seen(connection: sa.Connection, account: str) -> tuple[int, float]:
    count, largest = connection.execute(_SEEN, {"account": account}).one()
    return int(count), float(largest or 0.0)
