"""What ends the doubt about a lost POST: its attempt is adopted with a job, closed as absent, or held."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from resources.ledger import decisions, spare_takes
from resources.ledger.database import lock_subject
from resources.ledger.jobs import book_job
from resources.ledger.ledger import Ledger
from resources.ledger.lost.evidence import Lack
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, submissions
from resources.ledger.states import AT_PROVIDER, WITHOUT_OUTPUT, AttemptState, MoneyState, SubmissionState
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
    if not book_job(ledger, connection, attempt.account, job_id, attempt.id, submission_id, source=source):
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
    queued = decisions.try_again(ledger, connection, absent, run_id=run_id) if before <= again else None
    return [absent] if queued is None else [absent, queued]


def hold(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    why: str,
    candidates: Sequence[dict[str, Any]],
    *,
    lack: Lack | None = None,
    who: str = "reconciler",
    run_id: str | None = None,
) -> Attempt:
    """Hold an unknown attempt, since all was looked at and nothing is proved; or say why it is held now.

    Its money stays counted. It goes on by itself when what is missing has come, or by a person's word.
    """
    named = ", ".join(str(candidate["job"]) for candidate in candidates[:5])
    reason = (
        f"it could not be proved whether {attempt.account} took the order: {why}. "
        f"{f'Jobs that may be it: {named}. ' if named else ''}{show_usd(attempt.quoted_micros)} may have been charged. "
        f"Settle it: `dailies resolve {attempt.subject_key}`."
    )
    connection.execute(
        sa.update(submissions)
        .where(submissions.c.attempt_id == attempt.id, submissions.c.state == SubmissionState.UNKNOWN.value)
        .values(lack=None if lack is None else lack.value, judged_at=ledger.clock())
    )
    if attempt.state is AttemptState.HELD:
        connection.execute(sa.update(attempts).where(attempts.c.id == attempt.id).values(reason=reason))
        return ledger.require(connection, attempt.id)
    return ledger.transition(
        connection,
        attempt,
        AttemptState.HELD,
        money=MoneyState.INDETERMINATE,
        who=who,
        why=why,
        run_id=run_id,
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
    """Take in that a provider has called back for a POST of ours: whose the job is, and that it is to be polled now.

    The job's end is not believed here; the poll that follows sees it.

    Args:
        ledger: The record.
        account: Whose job.
        submission_id: The POST that the address named.
        job_id: The job, which the provider has confirmed.
        model: The model it names.

    Returns:
        The attempt, None where the ledger knows no such POST.
    """
    why = f"job {job_id}: a verified callback names its POST"
    attempt = take_named(
        ledger, account, submission_id, job_id, model=model, source="webhook", who="webhook", why=why
    )
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
    ledger: Ledger,
    account: str,
    submission_id: str,
    job_id: str,
    *,
    model: str | None,
    source: str,
    who: str,
    why: str,
    run_id: str | None = None,
) -> Attempt | None:
    """Take in a job that names a POST of ours, whatever has become of that meanwhile.

    A lost POST goes on with it, one on the wire keeps its word until it has one, and where all was over it is a take to
    spare.

    Args:
        ledger: The record.
        account: Where the job is.
        submission_id: The POST it names.
        job_id: The job.
        model: The model it names.
        source: Where it was seen.
        who: The part of dailies that saw it.
        why: One sentence for a person.
        run_id: For the journal.

    Returns:
        The attempt as it stands, None where the ledger knows no such POST.
    """
    with ledger.write() as connection:
        query = (
            sa.select(submissions.c.attempt_id, submissions.c.state, attempts.c.subject_key)
            .join(attempts, attempts.c.id == submissions.c.attempt_id)
            .where(submissions.c.id == submission_id, submissions.c.account == account)
        )
        row = connection.execute(query).first()
        if row is None:
            return None
        lock_subject(connection, row.subject_key)
        attempt = ledger.require(connection, row.attempt_id)
        lost = attempt.state in {AttemptState.UNKNOWN, AttemptState.HELD}
        if lost and row.state == SubmissionState.UNKNOWN.value:
            adopted = adopt(
                ledger,
                connection,
                attempt,
                submission_id,
                job_id,
                model=model,
                source=source,
                who=who,
                why=why,
                run_id=run_id,
            )
            return adopted or attempt
        booked = book_job(ledger, connection, account, job_id, attempt.id, submission_id, source=source)
        if booked and spare_takes.is_spare(connection, attempt, job_id, submission_id):
            spare_takes.keep(
                ledger, connection, attempt, job_id, submission_id, model=model, who=who, run_id=run_id
            )
        return ledger.require(connection, attempt.id)
