"""Jobs that turn up after their purchase was closed: booked, counted, followed and fetched, as a take to spare.

It must not happen: a purchase is closed without a job only when it is proved that there is none. Where the proof was
wrong (a provider that broke the bounds of its contract, a person's word), the job was charged all the same. It becomes
an attempt of its own, so that its money is confirmed and its clip fetched like any other; it never stands in the way of
another purchase and is never its clip's current take.
"""

import logging
import uuid

import sqlalchemy as sa

from resources.ledger.late_entry import write_down
from resources.ledger.ledger import Ledger
from resources.ledger.records import SPARE, Attempt
from resources.ledger.schema import attempts, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.money import show_usd

logger = logging.getLogger("dailies")

UNDECIDED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD})
"""States of a purchase that goes on with its job when that is heard of."""


def is_spare(connection: sa.Connection, attempt: Attempt, job_id: str, submission_id: str | None) -> bool:
    """Whether a job of one of an attempt's POSTs is neither the attempt's own nor can become it.

    Args:
        connection: The transaction.
        attempt: As it stands.
        job_id: The job, already booked as the attempt's.
        submission_id: The POST that made it.
    """
    if attempt.job_id == job_id:
        return False
    if attempt.state not in UNDECIDED:
        return True
    state = connection.execute(
        sa.select(submissions.c.state).where(submissions.c.id == submission_id)
    ).scalar()
    return state not in {SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value}


def keep(
    ledger: Ledger,
    connection: sa.Connection,
    closed: Attempt,
    job_id: str,
    submission_id: str | None,
    *,
    model: str | None,
    who: str,
    run_id: str | None = None,
) -> Attempt:
    """Make a purchase of its own of a job that turned up late.

    Args:
        ledger: The record.
        connection: The transaction that books the job.
        closed: The purchase whose POST made it.
        job_id: The job.
        submission_id: That POST.
        model: The model the provider names.
        who: The part of dailies that heard of it.
        run_id: For the journal.
    """
    mine = sa.and_(attempts.c.account == closed.account, attempts.c.job_id == job_id)
    known = connection.execute(sa.select(attempts.c.id).where(mine)).scalar()
    if known is not None:
        return ledger.require(connection, known)
    now, attempt_id = ledger.clock(), uuid.uuid4().hex
    sent = sa.select(submissions.c.started_at).where(submissions.c.id == submission_id)
    sent_at = min(float(connection.execute(sent).scalar() or now), now)
    why = f"job {job_id} turned up after its purchase {closed.id} was {closed.state}"
    spare = write_down(
        ledger,
        connection,
        closed.request,
        state=AttemptState.SUBMITTED,
        money=MoneyState.RESERVED,
        who=who,
        why=why,
        kind=SPARE,
        subject=f"{closed.clip}~{attempt_id[:12]}",
        run_id=run_id,
        values={
            "id": attempt_id,
            "account": closed.account,
            "fingerprint": closed.fingerprint,
            "decision": closed.decision,
            "batch": closed.batch,
            "quoted_micros": closed.quoted_micros,
            "counted_on": closed.counted_on,
            "created_at": now,
            "submitted_at": sent_at,
            "next_poll_at": now,
            "overdue_at": sent_at + closed.request.max_seconds,
            "job_id": job_id,
            "served_model": model,
        },
    )
    connection.execute(
        sa.update(jobs)
        .where(jobs.c.account == closed.account, jobs.c.job_id == job_id)
        .values(attempt_id=attempt_id)
    )
    logger.error(
        "ALARM: %s: %s (%s). It is counted, and kept as a take to spare when it has ended: `dailies ledger`",
        closed.clip,
        why,
        show_usd(closed.quoted_micros),
    )
    return spare
