"""What becomes of an attempt whose outcome was unknown: adopted with a job, closed as absent, held, or settled by a person.

Held attempts are a person's: the job is named, the clip is bought again, or it is written off. What a person says is
written down with who and why.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from resources.ledger import deciding
from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.money import show_usd

RESUBMISSIONS = 3
"""How often one decision buys a clip again because its POST has provably come to nothing."""


def adopt(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    submission_id: str,
    job_id: str,
    *,
    model: str | None,
    source: str,
    who: str,
    why: str,
    run_id: str | None = None,
) -> Attempt | None:
    """Go on with a job that was found for an unknown or held attempt; None when the job is another attempt's."""
    if not claim_job(ledger, connection, attempt.account, job_id, attempt.id, submission_id, source=source):
        return None
    now = ledger.clock()
    started_at = connection.execute(
        sa.select(submissions.c.started_at).where(submissions.c.id == submission_id)
    ).scalar_one()
    _close(connection, submission_id, SubmissionState.ACCEPTED, now, job_id)
    return ledger.transition(
        connection,
        attempt,
        AttemptState.SUBMITTED,
        money=MoneyState.RESERVED,
        who=who,
        why=why,
        run_id=run_id,
        job_id=job_id,
        served_model=model,
        submitted_at=min(started_at, now),
        next_poll_at=now,
        overdue_at=started_at + attempt.request.max_seconds,
        reason=None,
        reason_kind=None,
    )


def close_absent(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    submission_id: str,
    *,
    who: str,
    why: str,
    run_id: str | None = None,
    again: int = RESUBMISSIONS,
) -> list[Attempt]:
    """Close an attempt that has no job, and queue its clip anew within the same decision.

    Args:
        ledger: The record.
        connection: The transaction, which has locked the subject.
        attempt: Unknown or held.
        submission_id: Its POST.
        who: Who says so.
        why: What proves it, or a person's word.
        run_id: For the journal.
        again: How often at most the decision buys the clip again in this way.
    """
    now = ledger.clock()
    _close(connection, submission_id, SubmissionState.ABSENT, now, why)
    absent = ledger.transition(
        connection,
        attempt,
        AttemptState.ABSENT,
        money=MoneyState.RELEASED,
        who=who,
        why=why,
        run_id=run_id,
        reason=f"the order came to nothing at {attempt.account}: {why}",
        reason_kind=None,
        finished_at=now,
    )
    before = connection.execute(
        sa.select(sa.func.count()).where(
            attempts.c.subject_kind == attempt.subject_kind,
            attempts.c.subject_key == attempt.subject_key,
            attempts.c.decision == attempt.decision,
            attempts.c.state == AttemptState.ABSENT.value,
        )
    ).scalar_one()
    queued = deciding.try_again(ledger, connection, absent, run_id=run_id) if before <= again else None
    return [absent] if queued is None else [absent, queued]


def hold(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    why: str,
    candidates: Sequence[dict[str, Any]],
    *,
    run_id: str | None = None,
) -> Attempt:
    """Give an unknown attempt to a person, since all was looked at and nothing is proved. Its money stays counted."""
    named = ", ".join(str(candidate["job"]) for candidate in candidates[:5])
    reason = (
        f"it could not be proved whether {attempt.account} took the order: {why}. "
        f"{f'Jobs that may be it: {named}. ' if named else ''}{show_usd(attempt.quoted_micros)} may have been charged. "
        f"Settle it: `dailies resolve {attempt.subject_key}`."
    )
    return ledger.transition(
        connection,
        attempt,
        AttemptState.HELD,
        money=MoneyState.INDETERMINATE,
        who="reconciler",
        why=why,
        run_id=run_id,
        reason=reason,
    )


def claim_job(
    ledger: Ledger,
    connection: sa.Connection,
    account: str,
    job_id: str,
    attempt_id: str,
    submission_id: str | None,
    *,
    source: str,
) -> bool:
    """Write down whose a job is; False when it is another attempt's already."""
    connection.execute(
        insert_ignoring(connection, jobs).values(
            account=account, job_id=job_id, source=source, seen_at=ledger.clock()
        )
    )
    mine = sa.or_(jobs.c.attempt_id.is_(None), jobs.c.attempt_id == attempt_id)
    taken = connection.execute(
        sa.update(jobs)
        .where(jobs.c.account == account, jobs.c.job_id == job_id, mine)
        .values(attempt_id=attempt_id, submission_id=submission_id)
    )
    return taken.rowcount == 1


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
