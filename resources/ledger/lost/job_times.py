"""The clock by which a provider dates its jobs, where it is another than the one in its answers' `Date` headers.

A gateway may stamp the answers and a service behind it the jobs. POSTs are bracketed by `Date`, so a job that the other
clock has dated would seem to be nobody's. Our own jobs tell how far the two are apart: each was made while its POST was
on the wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import sqlalchemy as sa

from resources.ledger.database import chunks
from resources.ledger.schema import jobs, submissions
from resources.providers.base import Candidate, Charge, ClockOffset

ENOUGH = 2
"""Jobs of ours that must agree. One alone may have been dated late for a reason of its own."""
ROUNDING_SECONDS = 1.0
SAME_SECONDS = 5.0
"""Clocks that are no further apart are taken to be one: the windows of POSTs have room for it."""


@dataclass(frozen=True)
class Dating:
    """What our own jobs tell about the times of an account's listing.

    Attributes:
        ahead: How far the clock that dates jobs is ahead of the one in `Date` headers, in seconds; None where it is the same
            as far as is known.
        reliable: Whether the times, with that, may be believed: not where only one job contradicts the headers, or where jobs
            contradict each other (a service that dates them when they begin, say).
    """

    ahead: ClockOffset | None = None
    reliable: bool = True


def dating(connection: sa.Connection, account: str, listed: Sequence[Candidate]) -> Dating:
    """What a listing's jobs of ours tell about its clock.

    Args:
        connection: A view of the ledger.
        account: Whose listing.
        listed: What it shows; jobs of ours whose POST was answered count.
    """
    created = {job.job_id: job.created_at.timestamp() for job in listed}
    between: list[ClockOffset] = []
    ids = sorted(created)
    for some in chunks(ids):
        query = (
            sa.select(
                jobs.c.job_id,
                submissions.c.started_at + submissions.c.clock_low,
                submissions.c.ended_at + submissions.c.clock_high,
            )
            .join(submissions, submissions.c.id == jobs.c.submission_id)
            .where(
                jobs.c.account == account,
                jobs.c.job_id.in_(some),
                jobs.c.source == "answer",
                submissions.c.ended_at.is_not(None),
                submissions.c.clock_low.is_not(None),
                submissions.c.clock_high.is_not(None),
            )
        )
        between += [
            ClockOffset(created[job_id] - answered_at, created[job_id] - sent_at + ROUNDING_SECONDS)
            for job_id, sent_at, answered_at in connection.execute(query)
        ]
    low = max((one.low for one in between), default=0.0)
    high = min((one.high for one in between), default=0.0)
    if low > high:
        return Dating(reliable=False)
    if low <= SAME_SECONDS and high >= -SAME_SECONDS:
        return Dating()
    return Dating(ClockOffset(low, high)) if len(between) >= ENOUGH else Dating(reliable=False)


def by_date_header(
    listed: Sequence[Candidate], charges: Sequence[Charge] | None, ahead: ClockOffset
) -> tuple[list[Candidate], list[Charge] | None]:
    """Jobs and charges with their times as the clock of the `Date` headers would have them."""
    seconds = (ahead.low + ahead.high) / 2
    back = timedelta(seconds=seconds)
    return (
        [replace(job, created_at=job.created_at - back) for job in listed],
        None if charges is None else [replace(row, at=row.at - seconds) for row in charges],
    )
