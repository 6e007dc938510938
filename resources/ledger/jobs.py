"""The jobs of an account: every job id ever seen, and the purchase that owns it."""

from typing import NamedTuple

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.records import Attempt
from resources.ledger.schema import jobs
from resources.ledger.transaction import Transaction

_THIS = (jobs.c.account == sa.bindparam("of_account"), jobs.c.job_id == sa.bindparam("of_job"))
_OWNER = sa.select(jobs.c.attempt_id).where(*_THIS)
_OWN = sa.update(jobs).where(*_THIS, jobs.c.attempt_id.is_(None))


class NamedJob(NamedTuple):
    """A job that an answer, a listing, a bill, a callback, a manifest or a person has named."""

    id: str
    """The provider's id."""
    model: str | None
    """The model that made it; None if the source does not say."""
    source: str
    """The source that named it."""


def book_job(tx: Transaction, attempt: Attempt, submission_id: str | None, job: NamedJob) -> bool:
    """Record the owner of a job; a second sighting changes nothing.

    Args:
        attempt: The purchase the job was made for.
        submission_id: The POST that made it; None if that is not known.

    Returns:
        Whether this purchase owns the job; another one may own it already.
    """
    tx.connection.execute(
        insert_ignoring(tx.connection, jobs).values(
            account=attempt.account, job_id=job.id, source=job.source, seen_at=tx.now()
        )
    )
    which = {"of_account": attempt.account, "of_job": job.id}
    tx.connection.execute(_OWN, {**which, "attempt_id": attempt.id, "submission_id": submission_id})
    return owner_of(tx.connection, attempt.account, job.id) == attempt.id


def owner_of(connection: sa.Connection, account: str, job_id: str) -> str | None:
    """The purchase that owns a job; None if none does."""
    return connection.execute(_OWNER, {"of_account": account, "of_job": job_id}).scalar()
