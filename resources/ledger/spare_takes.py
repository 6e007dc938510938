"""Spare takes: jobs that turn up after their purchase was closed are booked, counted, polled and fetched.

A purchase is closed without a job only after proof that there is none. If the proof was wrong (a provider broke its contract, a
person erred), the job was charged all the same. It becomes an attempt of its own, so that its money is confirmed and its clip
fetched like any other. A spare take never blocks another purchase and is never its clip's current take.
"""

import logging

import sqlalchemy as sa

from resources.ledger import waiting_finishes
from resources.ledger.jobs import NamedJob
from resources.ledger.records import SPARE, Attempt, new_attempt_id
from resources.ledger.schema import attempts, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import Booked, Transaction
from resources.log_lines import about
from resources.money import show_usd

logger = logging.getLogger("dailies")

UNDECIDED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD})
"""States in which a purchase continues with its job once the job is known."""


def keep_if_spare(tx: Transaction, attempt: Attempt, submission_id: str, job: NamedJob) -> Attempt:
    """Keep a job of an attempt's POST as a spare take, unless the job is or can become the attempt's own.

    Args:
        tx: The transaction that has booked the job for the attempt.
        attempt: The attempt as it is now.
        submission_id: The POST that made the job.

    Returns:
        The attempt afterwards.
    """
    if attempt.job_id == job.id:
        return attempt
    if attempt.state in UNDECIDED:
        state = tx.connection.execute(
            sa.select(submissions.c.state).where(submissions.c.id == submission_id)
        ).scalar()
        if state in {SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value}:
            return attempt
    keep(tx, attempt, submission_id, job)
    return tx.attempt(attempt.id)


def keep(tx: Transaction, closed: Attempt, submission_id: str | None, job: NamedJob) -> Attempt:
    """Make a new purchase of a job that turned up late.

    Args:
        tx: The transaction that books the job.
        closed: The purchase whose POST made the job.
        submission_id: That POST; None if it is not known.
    """
    mine = sa.and_(attempts.c.account == closed.account, attempts.c.job_id == job.id)
    known = tx.connection.execute(sa.select(attempts.c.id).where(mine)).scalar()
    if known is not None:
        return tx.attempt(known)
    now, attempt_id = tx.now(), new_attempt_id()
    sent = sa.select(submissions.c.started_at).where(submissions.c.id == submission_id)
    sent_at = min(float(tx.connection.execute(sent).scalar() or now), now)
    why = f"job {job.id} turned up after its purchase {closed.id} was {closed.state}"
    spare = tx.add_found(
        closed.request,
        AttemptState.SUBMITTED,
        MoneyState.RESERVED,
        why=why,
        id=attempt_id,
        subject_kind=SPARE,
        subject_key=f"{closed.clip}~{attempt_id[:12]}",
        account=closed.account,
        fingerprint=closed.fingerprint,
        decision=closed.decision,
        batch=closed.batch,
        quoted_micros=closed.quoted_micros,
        counted_on=closed.counted_on,
        created_at=now,
        submitted_at=sent_at,
        next_poll_at=now,
        overdue_at=sent_at + closed.request.max_seconds,
        job_id=job.id,
        served_model=job.model,
    )
    tx.connection.execute(
        sa.update(jobs)
        .where(jobs.c.account == closed.account, jobs.c.job_id == job.id)
        .values(attempt_id=attempt_id)
    )
    _release_written_off(tx, closed, submission_id, spare)
    if spare.finishes is not None:
        late = f"job {job.id} of a finish turned up late and becomes spare take {attempt_id}: look at it before you order another finish"
        # this ends a waiting order too: its finish would be paid twice
        waiting_finishes.explain(tx.connection, spare, late, now=now)
    with about(**spare.named):
        logger.error(
            "ALARM: %s: %s (%s). It is counted, and kept as a spare take when it has ended: `dailies ledger`",
            closed.clip,
            why,
            show_usd(closed.quoted_micros),
        )
    return spare


def _release_written_off(tx: Transaction, closed: Attempt, submission_id: str | None, spare: Attempt) -> None:
    """Release the money of a purchase that a person has written off, now that the only job it can have made counts by itself."""
    is_written_off = closed.state is AttemptState.ABANDONED and closed.money_state is MoneyState.INDETERMINATE
    if not is_written_off or closed.job_id is not None or submission_id is None:
        return
    in_doubt = sa.select(sa.func.count()).where(
        submissions.c.attempt_id == closed.id,
        submissions.c.id != submission_id,
        submissions.c.state.in_([SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value]),
    )
    if not tx.connection.execute(in_doubt).scalar():
        why = f"its job {spare.job_id} turned up and is spare take {spare.id}, which has its money now"
        tx.settle(closed, MoneyState.RELEASED, Booked(None, None), why=why)
