"""Outcomes of POSTs: accepted, rejected, not sent, or unknown.

A job id is committed the moment it is seen, in any state of the attempt.
"""

import sqlalchemy as sa

from resources.ledger import spare_takes, stops
from resources.ledger.database import lock_subject
from resources.ledger.decisions import try_again
from resources.ledger.jobs import NamedJob, book_job
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LONGEST_LEASE_SECONDS, calm_down
from resources.ledger.lost.posts import UNMEASURED_SECONDS
from resources.ledger.pauses import pause, throttle
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import attempts, is_any_of, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.stops import StopKind
from resources.ledger.times import CLOCKS_SECONDS
from resources.ledger.transaction import Transaction
from resources.providers.base import Accepted, FailureKind, NotSent, Rejected, SubmitOutcome, Unknown

NOT_SENT_SECONDS = 2
BELIEVABLE_SECONDS = 3600.0
"""How far a provider's clock may be ahead of ours."""
DIED = "the process that sent it died before it recorded the answer"

_CLOSE = sa.update(submissions).where(
    submissions.c.id == sa.bindparam("submission_id"),
    is_any_of(submissions.c.state, [SubmissionState.OPEN, SubmissionState.UNKNOWN]),
)
_UNANSWERED = sa.and_(
    submissions.c.account == sa.bindparam("account"),
    is_any_of(submissions.c.state, [SubmissionState.OPEN, SubmissionState.UNKNOWN]),
)
_IS_EXPIRED = sa.and_(
    submissions.c.state == SubmissionState.OPEN.value, submissions.c.lease_until < sa.bindparam("now")
)
_IS_AHEAD = submissions.c.lease_until > sa.bindparam("now", type_=sa.Double) + (
    LONGEST_LEASE_SECONDS + CLOCKS_SECONDS
)
_AHEAD = sa.select(submissions).where(_UNANSWERED, _IS_AHEAD)
_LOCK_AHEAD = (
    sa.select(attempts.c.id)
    .where(attempts.c.id.in_(_AHEAD.with_only_columns(submissions.c.attempt_id)))
    .order_by(attempts.c.id)
    .with_for_update()
)
_EXPIRED_OR_AHEAD = sa.select(submissions.c.id, submissions.c.attempt_id, _IS_AHEAD.label("is_ahead")).where(
    _UNANSWERED, sa.or_(_IS_EXPIRED, _IS_AHEAD)
)


def record_outcome(
    ledger: Ledger, submission: Submission, outcome: SubmitOutcome, *, run_id: str | None = None
) -> Attempt:
    """Record the outcome of a POST.

    Safe to repeat: a POST keeps its first answer, and a later one only adds a job id.

    Returns:
        The attempt afterwards.
    """
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        # locked before its job and its POST, as by a callback or a search, which may name the same job now
        lock_subject(tx.connection, submission.attempt.subject_key)
        attempt = tx.attempt(submission.attempt.id)
        outcome = _completed(tx, submission, outcome)
        first_answer = _close_submission(tx, submission, outcome)
        if first_answer:
            attempt = _apply_answer(tx, submission, attempt, outcome)
        if isinstance(outcome, Accepted):
            attempt = spare_takes.keep_if_spare(tx, attempt, submission.id, _named(outcome))
            if first_answer:
                # after the money of a spare take, by the order of locks
                calm_down(tx.connection, attempt.account)
        return attempt


def _named(outcome: Accepted) -> NamedJob:
    return NamedJob(outcome.job_id, outcome.model, "answer")


def _completed(tx: Transaction, submission: Submission, outcome: SubmitOutcome) -> SubmitOutcome:
    """Complete the answer to a POST with what other sources said about its job, and book the job."""
    attempt = submission.attempt
    if not isinstance(outcome, Accepted):
        heard = _job_named_for(tx.connection, submission)
        # a callback or the listing has named the job before the answer came
        return outcome if heard is None else Accepted(heard, None, {})
    if book_job(tx, attempt, submission.id, _named(outcome)):
        return outcome
    return Unknown(
        f"{attempt.account} answered with the job {outcome.job_id}, which belongs to another purchase already"
    )


def _job_named_for(connection: sa.Connection, submission: Submission) -> str | None:
    """The job of an unanswered POST, if a callback or a listing has named it."""
    return connection.execute(
        sa.select(jobs.c.job_id).where(
            jobs.c.submission_id == submission.id, jobs.c.attempt_id == submission.attempt.id
        )
    ).scalar()


def _apply_answer(
    tx: Transaction, submission: Submission, attempt: Attempt, outcome: SubmitOutcome
) -> Attempt:
    """Apply the first answer of a POST to its attempt and to the account."""
    match outcome:
        case Accepted():
            return _accepted(tx, attempt, outcome)
        case Rejected():
            after = _rejected(tx, attempt, outcome)
            _pause_or_stop(tx, submission, outcome)
            return after
        case NotSent():
            why = f"not sent: {outcome.cause}"
            after = _not_created(tx, attempt, why, None)
            pause(tx, attempt.account, NOT_SENT_SECONDS, why="it could not be reached")
            return after
        case Unknown():
            return _unknown(tx, attempt, outcome.cause)


def _close_submission(tx: Transaction, submission: Submission, outcome: SubmitOutcome) -> bool:
    """Record the first answer of a POST; False if it has one already. A lost answer may still be found."""
    match outcome:
        case Accepted():
            state, status, detail = SubmissionState.ACCEPTED, None, outcome.job_id
        case Rejected():
            throttled = outcome.kind is FailureKind.THROTTLED
            state, status, detail = (
                SubmissionState.THROTTLED if throttled else SubmissionState.REJECTED,
                outcome.http_status,
                outcome.message,
            )
        case NotSent():
            state, status, detail = SubmissionState.NOT_SENT, None, outcome.cause
        case Unknown():
            state, status, detail = SubmissionState.UNKNOWN, outcome.http_status, outcome.cause
    answer = {"state": state.value, "ended_at": tx.now(), "http_status": status, "detail": detail}
    closed = tx.connection.execute(_CLOSE, {"submission_id": submission.id, **answer})
    return closed.rowcount == 1


def _accepted(tx: Transaction, attempt: Attempt, outcome: Accepted) -> Attempt:
    if attempt.state not in {AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD}:
        return attempt
    now = tx.now()
    return tx.transition(
        attempt,
        AttemptState.SUBMITTED,
        money=MoneyState.RESERVED,
        why=f"job {outcome.job_id}",
        job_id=outcome.job_id,
        served_model=outcome.model,
        submitted_at=now,
        next_poll_at=now,
        overdue_at=now + attempt.request.max_seconds,
        reason=None,
        reason_kind=None,
    )


def _rejected(tx: Transaction, attempt: Attempt, outcome: Rejected) -> Attempt:
    if _may_be_sent_again(outcome) or attempt.state is not AttemptState.SUBMITTING:
        return _not_created(tx, attempt, outcome.message, outcome.kind)
    ended = tx.transition(
        attempt,
        AttemptState.REJECTED,
        money=MoneyState.RELEASED,
        why=outcome.message,
        reason=outcome.message,
        reason_kind=outcome.kind.value,
        finished_at=tx.now(),
    )
    # a local refusal (a file that cannot be uploaded) says nothing about the provider, so no fallback follows
    if outcome.http_status:
        try_again(tx, ended)
    return ended


def _may_be_sent_again(outcome: Rejected) -> bool:
    """Whether the refusal concerns the account and not the clip, so that the clip goes back to the queue.

    A 401 concerns the key. A 403 may concern only this model (WaveSpeed contract: some models need a higher level), so its clip must
    not stay at the head of the queue.
    """
    return outcome.kind in {FailureKind.THROTTLED, FailureKind.INSUFFICIENT_FUNDS} or (
        outcome.kind is FailureKind.AUTH and outcome.http_status == 401
    )


def _pause_or_stop(tx: Transaction, submission: Submission, outcome: Rejected) -> None:
    """Pause or stop the account if the refusal asks for it."""
    account = submission.attempt.account
    match outcome.kind:
        case FailureKind.THROTTLED:
            throttle(tx, submission, outcome.retry_after)
        case FailureKind.INSUFFICIENT_FUNDS | FailureKind.AUTH:
            kind = StopKind(outcome.kind.value)
            stops.stop_account(tx.connection, account, kind, outcome.message, now=tx.now())


def _not_created(tx: Transaction, attempt: Attempt, why: str, kind: FailureKind | None) -> Attempt:
    """Queue an attempt again whose POST created no job. An unknown or held attempt becomes absent instead."""
    if attempt.state is AttemptState.SUBMITTING:
        return tx.transition(attempt, AttemptState.QUEUED, why=why, overdue_at=None)
    if attempt.state not in {AttemptState.UNKNOWN, AttemptState.HELD}:
        return attempt
    return tx.transition(
        attempt,
        AttemptState.ABSENT,
        money=MoneyState.RELEASED,
        why=why,
        reason=why,
        reason_kind=None if kind is None else kind.value,
        finished_at=tx.now(),
    )


def _unknown(tx: Transaction, attempt: Attempt, cause: str) -> Attempt:
    if attempt.state is not AttemptState.SUBMITTING:
        return attempt
    reason = f"it is not known whether {attempt.account} took the order ({cause}); it is not sent again, so that nothing is paid twice"
    return tx.transition(
        attempt,
        AttemptState.UNKNOWN,
        money=MoneyState.INDETERMINATE,
        why=cause,
        reason=reason,
    )


def _redate(ledger: Ledger, account: str) -> None:
    """Restart the leases of POSTs that were dated by a clock that was ahead: they begin now.

    The stored offset to the provider's clock moves by the same amount, so that the POST keeps its place in the provider's time, in
    which its job is searched. Without an offset, the search window covers the whole distance.
    """
    with ledger.write() as connection:
        now = ledger.clock()
        known = {"account": account, "now": now}
        connection.execute(_LOCK_AHEAD, known).all()
        rows = connection.execute(_AHEAD.with_for_update(), known).all()
        for row in rows:
            back = row.started_at - now
            low, high = row.clock_low, row.clock_high
            # the offset was measured before the clock jumped, or never
            unmeasured = low is None or low + back > BELIEVABLE_SECONDS
            if unmeasured:
                low = -2 * back - UNMEASURED_SECONDS
                high = (UNMEASURED_SECONDS if high is None else high) - back
            connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == row.id)
                .values(
                    started_at=now,
                    lease_until=row.lease_until - back,
                    ended_at=None if row.ended_at is None else row.ended_at - back,
                    clock_low=low + back,
                    clock_high=high + back,
                )
            )
            # without this, an unknown POST would fill its slot until the day that the clock showed
            connection.execute(
                sa.update(attempts)
                .where(attempts.c.id == row.attempt_id, attempts.c.overdue_at.is_not(None))
                .values(overdue_at=attempts.c.overdue_at - back)
            )


def _too_old(ledger: Ledger, account: str) -> tuple[list[tuple[str, str]], bool]:
    """The POSTs whose lease has expired, with their attempts' ids, and whether a clock that was ahead has dated any POST."""
    with ledger.read() as connection:
        known = {"account": account, "now": ledger.clock()}
        posts = connection.execute(_EXPIRED_OR_AHEAD, known).all()
    return [(post.id, post.attempt_id) for post in posts if not post.is_ahead], any(
        post.is_ahead for post in posts
    )


def expire_submissions(ledger: Ledger, account: str) -> list[Attempt]:
    """Mark POSTs as unknown whose poster has died: an expired lease permits reading, never a POST."""
    overdue, ahead = _too_old(ledger, account)
    if ahead:
        _redate(ledger, account)
        overdue, _ = _too_old(ledger, account)
    expired = []
    for submission_id, attempt_id in overdue:
        with ledger.transaction(who="engine", run_id=None) as tx:
            attempt = tx.attempt_alone(attempt_id)
            closed = tx.connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == submission_id, submissions.c.state == SubmissionState.OPEN.value)
                .values(
                    state=SubmissionState.UNKNOWN.value,
                    ended_at=tx.now(),
                    detail="the process that sent it died",
                )
            )
            if closed.rowcount != 1:
                continue
            submission = Submission(submission_id, attempt, 0.0)
            outcome = _completed(tx, submission, Unknown(DIED))
            if isinstance(outcome, Accepted):
                _close_submission(tx, submission, outcome)
            expired.append(_apply_answer(tx, submission, attempt, outcome))
            if isinstance(outcome, Accepted):
                calm_down(tx.connection, account)
    return expired
