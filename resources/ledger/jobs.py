"""Writing down jobs: every id ever seen for an account, from whatever answer, and whose it is."""

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import jobs


def book_job(
    ledger: Ledger,
    connection: sa.Connection,
    account: str,
    job_id: str,
    attempt_id: str,
    submission_id: str | None,
    *,
    source: str,
) -> bool:
    """Write down whose a job is; a second sighting changes nothing.

    Args:
        ledger: The record.
        connection: The transaction.
        account: Where the job is.
        job_id: The provider's id.
        attempt_id: The purchase it was made for.
        submission_id: The POST that made it, where that is known.
        source: What named it: an answer, the listing, a callback, a manifest, a person.

    Returns:
        Whether it is this purchase's; it may be another one's already.
    """
    connection.execute(
        insert_ignoring(connection, jobs).values(
            account=account, job_id=job_id, source=source, seen_at=ledger.clock()
        )
    )
    nobodys = (jobs.c.account == account, jobs.c.job_id == job_id, jobs.c.attempt_id.is_(None))
    connection.execute(
        sa.update(jobs).where(*nobodys).values(attempt_id=attempt_id, submission_id=submission_id)
    )
    return owner_of(connection, account, job_id) == attempt_id


def owner_of(connection: sa.Connection, account: str, job_id: str) -> str | None:
    """The purchase that a job belongs to, None while it is nobody's."""
    return connection.execute(
        sa.select(jobs.c.attempt_id).where(jobs.c.account == account, jobs.c.job_id == job_id)
    ).scalar()
