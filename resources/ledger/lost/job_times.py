"""The clock by which a provider dates its jobs, if it differs from the clock of its `Date` headers.

A gateway may date the answers, and a service behind it the jobs. The window of a POST is measured by `Date`, so a job dated by the
other clock would fit no POST. Jobs of ours show the difference: each was created while its POST was in flight.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import sqlalchemy as sa

from resources.ledger.database import chunks
from resources.ledger.schema import jobs, submissions
from resources.providers.base import Candidate, Charge, ClockOffset

ENOUGH = 2
"""How many jobs of ours must agree. A single job may be dated late for another reason."""
ROUNDING_SECONDS = 1.0
SAME_SECONDS = 5.0
"""Offsets below this count as the same clock, because the windows of POSTs are wide enough."""


@dataclass(frozen=True)
class Dating:
    """What jobs of ours show about the times of an account's listing."""

    ahead: ClockOffset | None = None
    """How far the clock that dates jobs is ahead of the `Date` headers, in seconds; None if the two agree."""
    reliable: bool = True
    """Whether the corrected times can be used. They cannot if only one job contradicts the headers, or if jobs contradict each other,
    as with a service that dates a job when it begins."""


def dating(connection: sa.Connection, account: str, listed: Sequence[Candidate]) -> Dating:
    """Compare the times of listed jobs with the POSTs of ours that created them.

    Args:
        listed: The listed jobs. Only jobs of ours whose POST was answered count.
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
    """Jobs and charges with their times converted to the clock of the `Date` headers."""
    seconds = (ahead.low + ahead.high) / 2
    back = timedelta(seconds=seconds)
    return (
        [replace(job, created_at=job.created_at - back) for job in listed],
        None if charges is None else [replace(row, at=row.at - seconds) for row in charges],
    )
