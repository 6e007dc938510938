"""The lag of an account's listing: how long it takes to show a new job. Absence is proved only against a known lag.

A miss leads to a new purchase only after enough jobs were seen to appear, and only while the settle time is a multiple of the
largest lag.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.lost.readings import Reading
from resources.ledger.schema import attempts, jobs, lags, submissions

ENOUGH = 20
"""How many lags must be known before a miss counts."""
MARGIN = 3.0
"""The settle time must be at least this many times the largest lag."""
EXACT_SECONDS = 20.0
"""A job's lag lies between the last reading without the job and the first one with it. Readings that are further apart than this
give only a lower bound."""
EARLY_SECONDS = 5.0
"""A job that is listed this long before its own time was dated by another clock."""
MEASURED_FOR_SECONDS = 900.0
LOOKED_BACK_SECONDS = 900.0
"""A reading covers at least this much time before it. An older new job says nothing about the lag."""

_MEASURED = sa.and_(lags.c.account == sa.bindparam("account"), lags.c.seconds >= 0)
_LARGEST = sa.select(lags.c.seconds).where(_MEASURED).order_by(lags.c.seconds.desc()).limit(ENOUGH)
_SEEN_SINCE = (
    sa.select(lags.c.seconds)
    .where(lags.c.account == sa.bindparam("account"), lags.c.seen_at >= sa.bindparam("since"))
    .order_by(lags.c.seen_at.desc())
)
_UNMEASURED_SINCE = sa.select(sa.func.min(attempts.c.submitted_at)).where(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.job_id.is_not(None),
    attempts.c.submitted_at > sa.bindparam("after"),
    ~sa.exists().where(lags.c.account == attempts.c.account, lags.c.job_id == attempts.c.job_id),
)


@dataclass(frozen=True)
class Lags:
    """The lags of an account that are known after a reading."""

    known: int
    """The number of known lags, counted up to `ENOUGH`."""
    largest: float
    """The largest lag in seconds, or the age of a job of ours that is still not listed."""
    new: Mapping[str, float | None]
    """Jobs that were listed for the first time, with their lag in seconds: None if the last reading was too long ago, negative for a
    job that was listed before its own time."""
    early: bool = False
    """Whether the listing has a job with a negative lag."""

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
    """Whether the known lags of an account let a miss prove absence, at least one of them measured since `since`."""
    count, largest = _known_lags(connection, account)
    if Lags(count, largest, {}).doubt(settle_seconds) is not None:
        return False
    known = connection.execute(_SEEN_SINCE, {"account": account, "since": since}).scalars()
    return any(seconds is not None and seconds >= 0 for seconds in known)


def unmeasured_since(connection: sa.Connection, account: str, now: float) -> float | None:
    """When the oldest recent job of ours without a measured lag was submitted; None when enough lags are known."""
    if _known_lags(connection, account)[0] >= ENOUGH:
        return None
    young = {"account": account, "after": now - MEASURED_FOR_SECONDS}
    since = connection.execute(_UNMEASURED_SINCE, young).scalar()
    return None if since is None else float(since)


def measure(connection: sa.Connection, account: str, reading: Reading, last_read_at: float | None) -> Lags:
    """Measure the lag by a reading.

    Strangers' jobs count too, since a job of ours may be recognised only long after it was listed. A reading of an older part measures
    no new lag, but it shows that a job of ours is hidden if the job is missing from it.

    Args:
        reading: The reading, by our clock.
        last_read_at: When the listing was read before, by the provider's clock, since that reader's clock may differ from ours.
    """
    created = {job.job_id: job.created_at.timestamp() for job in reading.jobs}
    since, until = reading.search.since, reading.search.until
    began_at, ended_at, offset = reading.began_at, reading.ended_at, reading.offset
    known, largest = _known_lags(connection, account)
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
        began_at - submitted_at if listed_at is None else began_at + offset.low - listed_at
        for job_id, submitted_at, listed_at in ours
        if job_id not in created
    ]
    shown_lags = [seconds for seconds in new.values() if seconds is not None and seconds >= 0]
    early = any((seconds or 0) < 0 for seconds in (*new.values(), *measured.values()))
    return Lags(known + len(shown_lags), max([largest, *shown_lags, *missing]), new, early)


def note(connection: sa.Connection, account: str, seen: Lags, *, now: float) -> None:
    """Record the lags that were measured now."""
    # every writer locks rows in one order, which prevents deadlocks
    for job_id, seconds in sorted(seen.new.items()):
        connection.execute(
            insert_ignoring(connection, lags).values(
                account=account, job_id=job_id, seconds=seconds, seen_at=now
            )
        )


def _measured(connection: sa.Connection, account: str, job_ids: Collection[str]) -> dict[str, float | None]:
    measured: dict[str, float | None] = {}
    ids = sorted(job_ids)
    for some in chunks(ids):
        query = sa.select(lags.c.job_id, lags.c.seconds).where(
            lags.c.account == account, lags.c.job_id.in_(some)
        )
        measured.update((row.job_id, row.seconds) for row in connection.execute(query))
    return measured


def _known_lags(connection: sa.Connection, account: str) -> tuple[int, float]:
    """The number of known lags, counted up to `ENOUGH`, and the largest of all."""
    largest = connection.execute(_LARGEST, {"account": account}).scalars().all()
    return len(largest), float(largest[0]) if largest else 0.0
