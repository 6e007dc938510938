"""How long an account's listing lags behind: measured on our own jobs, since a miss proves something only against it.

Nothing is bought again on the strength of a miss before enough jobs were seen to appear, and only while the settle time
is a good multiple of the slowest of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.schema import attempts, lags

ENOUGH = 20
"""Lags that must have been seen before a miss is believed."""
MARGIN = 3.0
"""How many times the largest lag seen the settle time must be."""
YOUNG_SECONDS = 60.0
"""A job that is first seen younger than this has a lag of no more than its age, whether it was missed before or not."""
MEASURED_FOR_SECONDS = 900.0


@dataclass(frozen=True)
class Lags:
    """What is known of an account's lag after a reading.

    Attributes:
        known: How many lags were ever seen.
        largest: The largest of them, or the age of a job of ours that is still not listed, in seconds.
        new: Lags seen now, in seconds by job.
    """

    known: int
    largest: float
    new: Mapping[str, float]

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


def unmeasured_since(connection: sa.Connection, account: str, now: float) -> float | None:
    """When the oldest young job of ours was submitted whose lag is still to be seen; None when there are lags enough."""
    if _seen(connection, account)[0] >= ENOUGH:
        return None
    measured = sa.exists().where(lags.c.account == account, lags.c.job_id == attempts.c.job_id)
    query = sa.select(sa.func.min(attempts.c.submitted_at)).where(
        attempts.c.account == account,
        attempts.c.job_id.is_not(None),
        attempts.c.submitted_at > now - MEASURED_FOR_SECONDS,
        ~measured,
    )
    since = connection.execute(query).scalar()
    return None if since is None else float(since)


def measure(
    connection: sa.Connection,
    account: str,
    *,
    created: Mapping[str, float],
    since: float,
    began_at: float,
    offset_high: float,
    last_read_at: float | None,
) -> Lags:
    """What a reading says about the lag.

    Args:
        connection: A view of the ledger.
        account: Whose listing.
        created: When the provider says it created each listed job of ours, by the provider's clock.
        since: From when on the listing was read, by our clock.
        began_at: When the reading began, by our clock.
        offset_high: How far the provider's clock is ahead at most.
        last_read_at: When the listing was read before, by our clock.
    """
    known, largest = _seen(connection, account)
    query = sa.select(lags.c.job_id).where(lags.c.account == account, lags.c.seen_at > since)
    measured = set(connection.execute(query).scalars())
    new = {}
    for job_id, created_at in created.items():
        seconds = max(0.0, began_at + offset_high - created_at)
        missed_before = last_read_at is not None and last_read_at + offset_high > created_at
        if job_id not in measured and (seconds <= YOUNG_SECONDS or missed_before):
            new[job_id] = seconds
    ours = connection.execute(
        sa.select(attempts.c.job_id, attempts.c.submitted_at).where(
            attempts.c.account == account, attempts.c.job_id.is_not(None), attempts.c.submitted_at >= since
        )
    )
    missing = [began_at - submitted_at for job_id, submitted_at in ours if job_id not in created]
    return Lags(known + len(new), max(largest, *new.values(), *missing, 0.0), new)


def note(connection: sa.Connection, account: str, seen: Lags, *, now: float) -> None:
    """Write down the lags that were seen now."""
    for job_id, seconds in seen.new.items():
        connection.execute(
            insert_ignoring(connection, lags).values(
                account=account, job_id=job_id, seconds=seconds, seen_at=now
            )
        )


def _seen(connection: sa.Connection, account: str) -> tuple[int, float]:
    query = sa.select(sa.func.count(), sa.func.max(lags.c.seconds)).where(lags.c.account == account)
    count, largest = connection.execute(query).one()
    return int(count), float(largest or 0.0)
