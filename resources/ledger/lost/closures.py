"""Closing the question about a lost POST: its attempt adopts a job, is closed as absent, or is held."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from resources.ledger import decisions, spare_takes
from resources.ledger.database import lock_subject
from resources.ledger.jobs import NamedJob, book_job
from resources.ledger.ledger import Ledger
from resources.ledger.lost.evidence import Lack
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, submissions
from resources.ledger.states import AT_PROVIDER, WITHOUT_OUTPUT, AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import Transaction
from resources.money import show_usd

RESUBMISSIONS = 3
"""How often one decision buys a clip again because its POST was proved absent."""


def adopt(
    tx: Transaction, attempt: Attempt, submission_id: str, job: NamedJob, *, why: str
) -> Attempt | None:
    """Continue an unknown or held attempt with the job that was found for it; None if another attempt owns the job."""
    if not book_job(tx, attempt, submission_id, job):
        return None
    now = tx.now()
    started_at = tx.connection.execute(
        sa.select(submissions.c.started_at).where(submissions.c.id == submission_id)
    ).scalar_one()
    _close(tx.connection, submission_id, SubmissionState.ACCEPTED, now, job.id)
    return tx.transition(
        attempt,
        AttemptState.SUBMITTED,
        money=MoneyState.RESERVED,
        why=why,
        job_id=job.id,
        served_model=job.model,
        submitted_at=min(started_at, now),
        next_poll_at=now,
        overdue_at=started_at + attempt.request.max_seconds,
        reason=None,
        reason_kind=None,
    )


def close_absent(
    tx: Transaction, attempt: Attempt, submission_id: str, *, why: str, again: int
) -> list[Attempt]:
    """Close an attempt that has no job, and queue its clip again within the same decision.

    Args:
        tx: The transaction, which has locked the subject.
        attempt: Unknown or held.
        submission_id: Its POST.
        why: The proof that there is no job, or a person's reason.
        again: How often the decision buys the clip again at most after a POST without a job.
    """
    now = tx.now()
    _close(tx.connection, submission_id, SubmissionState.ABSENT, now, why)
    absent = tx.transition(
        attempt,
        AttemptState.ABSENT,
        money=MoneyState.RELEASED,
        why=why,
        reason=f"{attempt.account} created no job for the order: {why}",
        reason_kind=None,
        finished_at=now,
    )
    before = tx.connection.execute(
        sa.select(sa.func.count()).where(
            attempts.c.subject_kind == attempt.subject_kind,
            attempts.c.subject_key == attempt.subject_key,
            attempts.c.slot == attempt.slot,
            attempts.c.decision == attempt.decision,
            attempts.c.state == AttemptState.ABSENT.value,
        )
    ).scalar_one()
    queued = decisions.try_again(tx, absent) if before <= again else None
    return [absent] if queued is None else [absent, queued]


def hold(
    tx: Transaction,
    attempt: Attempt,
    why: str,
    candidates: Sequence[dict[str, Any]],
    *,
    lack: Lack | None = None,
) -> Attempt:
    """Hold an unknown attempt without proof, or update the reason of a held one.

    Its money stays counted. It continues when the missing proof arrives, or when a person settles it.
    """
    named = ", ".join(str(candidate["job"]) for candidate in candidates[:5])
    reason = (
        f"it could not be proved whether {attempt.account} took the order: {why}. "
        f"{f'Jobs that may be it: {named}. ' if named else ''}{show_usd(attempt.quoted_micros)} may have been charged. "
        f"Settle it: `dailies resolve {attempt.subject_key}`."
    )
    tx.connection.execute(
        sa.update(submissions)
        .where(submissions.c.attempt_id == attempt.id, submissions.c.state == SubmissionState.UNKNOWN.value)
        .values(lack=None if lack is None else lack.value, judged_at=tx.now())
    )
    if attempt.state is AttemptState.HELD:
        tx.connection.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(reason=reason))
        return tx.attempt(attempt.id)
    return tx.transition(
        attempt,
        AttemptState.HELD,
        money=MoneyState.INDETERMINATE,
        why=why,
        reason=reason,
    )


def _close(
    connection: sa.Connection, submission_id: str, state: SubmissionState, now: float, detail: str
) -> None:
    connection.execute(
        sa.update(submissions)
        .where(submissions.c.id == submission_id)
        .values(
            state=state.value,
            detail=detail,
            ended_at=sa.func.coalesce(submissions.c.ended_at, now),
        )
    )


def match_callback(
    ledger: Ledger, account: str, submission_id: str, job_id: str, *, model: str | None
) -> Attempt | None:
    """Record the owner of a job that a callback names, and make its poll due.

    The job's end in the callback is not believed; the poll that follows reads it.

    Args:
        submission_id: The POST that the callback's address names.
        job_id: The job, as confirmed by the provider.
        model: The model that the provider names.

    Returns:
        The attempt; None if the ledger knows no such POST.
    """
    why = f"job {job_id}: a verified callback names its POST"
    with ledger.transaction(who="webhook", run_id=None) as tx:
        attempt = take_named(tx, account, submission_id, NamedJob(job_id, model, "webhook"), why=why)
    if attempt is not None:
        ask_now = (("next_poll_at", AT_PROVIDER), ("late_at", WITHOUT_OUTPUT))
        with ledger.write() as connection:
            for name, states in ask_now:
                connection.execute(
                    sa.update(attempts)
                    .where(
                        attempts.c.account == account,
                        attempts.c.job_id == job_id,
                        attempts.c.state.in_([state.value for state in states]),
                    )
                    .values({name: ledger.clock()})
                )
    return attempt


def take_named(
    tx: Transaction, account: str, submission_id: str, job: NamedJob, *, why: str
) -> Attempt | None:
    """Record a job that names a POST of ours, in any state of the attempt.

    An unknown POST adopts the job; a POST in flight records it; a closed attempt keeps it as a spare take.

    Args:
        tx: A transaction that holds no lock yet.
        submission_id: The POST that the job names.
        why: One sentence for a person.

    Returns:
        The attempt afterwards; None if the ledger knows no such POST.
    """
    query = (
        sa.select(submissions.c.attempt_id, submissions.c.state, attempts.c.subject_key)
        .join(attempts, attempts.c.id == submissions.c.attempt_id)
        .where(submissions.c.id == submission_id, submissions.c.account == account)
    )
    row = tx.connection.execute(query).first()
    if row is None:
        return None
    lock_subject(tx.connection, row.subject_key)
    attempt = tx.attempt(row.attempt_id)
    lost = attempt.state in {AttemptState.UNKNOWN, AttemptState.HELD}
    if lost and row.state == SubmissionState.UNKNOWN.value:
        return adopt(tx, attempt, submission_id, job, why=why) or attempt
    if book_job(tx, attempt, submission_id, job):
        return spare_takes.keep_if_spare(tx, attempt, submission_id, job)
    return attempt
