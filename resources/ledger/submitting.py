"""Claiming the next POST and recording what became of it.

A POST is sent only after `claim_next` has committed its submission, and a job id is committed by `record_outcome` the
moment it is seen, whatever the attempt's state says by then.
"""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import apart, halting
from resources.ledger.database import insert_ignoring
from resources.ledger.halting import Stop, StopKind
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import accounts, attempts, jobs, submissions
from resources.ledger.states import IN_FLIGHT, AttemptState, MoneyState, SubmissionState
from resources.providers.base import (
    Accepted,
    ClockOffset,
    FailureKind,
    NotSent,
    Rejected,
    SubmitOutcome,
    Unknown,
)

LEASE_MARGIN_SECONDS = 30
"""How long after the hard deadline of a POST its poster is given up for dead."""

WINDOW_SECONDS = 60
THROTTLE_SECONDS = 30
"""Wait after a 429 without Retry-After (AI/ML API sends none as far as was probed)."""
LONGEST_THROTTLE_SECONDS = 600
"""What the wait grows to when every try after it is throttled again, unless the provider asks for more."""

NOT_SENT_SECONDS = 2

IN_ORDER_UP_TO = 20
"""An account that allows no more than so many is sent to one POST at a time: fresh connections overtake each other, and
so few leave time enough to have each answered before the next."""
STOPPED_SECONDS = 30


@dataclass(frozen=True)
class Limits:
    """What an account allows, across all processes. None is no limit.

    Attributes:
        in_flight: Jobs at the provider at one time; an unknown submit fills a place until its endpoint's longest time.
        per_minute: Submits in any 60 seconds.
    """

    in_flight: int | None = None
    per_minute: int | None = None

    @property
    def in_order(self) -> bool:
        """Whether its POSTs arrive in the order of the queue, because they go one at a time."""
        return any(
            limit is not None and limit <= IN_ORDER_UP_TO for limit in (self.in_flight, self.per_minute)
        )


@dataclass(frozen=True)
class Later:
    """Something is queued, and may not be sent yet.

    Attributes:
        at: When to ask again, seconds since the epoch.
        why: One sentence for a person.
        posting: Whether it waits for the answer to a POST that is on its way, whose end may come any moment.
        lost: Whether it waits for a lost answer to be found.
        stop: What must end first, where buying is stopped.
    """

    at: float
    why: str
    posting: bool = False
    lost: bool = False
    stop: Stop | None = None


def claim_next(
    ledger: Ledger,
    account: str,
    *,
    limits: Limits,
    deadline_seconds: float,
    run_id: str | None = None,
    traceable: bool = True,
    clock_offset: ClockOffset | None = None,
) -> Submission | Later | None:
    """Commit the submission of the oldest queued attempt of an account: after this, and only after this, it may be sent.

    First in, first out over all processes: whoever has a hand free sends what is oldest, whoever asked for it.

    Args:
        ledger: The record.
        account: Whose queue.
        limits: What the account allows.
        deadline_seconds: The hard deadline of the POST; its lease ends a margin after it.
        run_id: For the journal.
        traceable: Whether the provider's listing names our submission ids; see `resources.ledger.apart`.
        clock_offset: How far the provider's clock is ahead now, so that its listing can be searched for this POST later.

    Returns:
        The submission to send now, `Later` when the queue must wait, None when it is empty.
    """
    with ledger.write() as connection:
        not_before = _lock_account(connection, account)
        now = ledger.clock()  # only now: what was read before a wait for the lock would date the submit back
        queued = connection.execute(
            sa.select(attempts)
            .where(
                attempts.c.account == account,
                attempts.c.state == AttemptState.QUEUED.value,
                ~apart.must_wait(now, traceable=traceable),
            )
            .order_by(attempts.c.seq)
            .limit(1)
            .with_for_update()
        ).first()
        if queued is None:
            return _why_nothing(connection, account, now)
        stop = halting.standing(connection, account)
        if stop is not None:
            return Later(now + STOPPED_SECONDS, str(stop), stop=stop)
        if not_before > now:
            return Later(not_before, f"{account} asked for a pause")
        later = _over_limit(connection, account, limits, now)
        if later is not None:
            return later
        attempt = Attempt.from_row(queued)
        submission_id = uuid.uuid4().hex
        # PostgreSQL may have counted a place that became free since: a submit is never dated before it was
        now = ledger.clock()
        connection.execute(
            sa.insert(submissions).values(
                id=submission_id,
                attempt_id=attempt.id,
                account=account,
                state=SubmissionState.OPEN.value,
                owner=ledger.owner,
                started_at=now,
                lease_until=now + deadline_seconds + LEASE_MARGIN_SECONDS,
                clock_low=None if clock_offset is None else clock_offset.low,
                clock_high=None if clock_offset is None else clock_offset.high,
            )
        )
        attempt = ledger.transition(
            connection,
            attempt,
            AttemptState.SUBMITTING,
            who="engine",
            why=f"submission {submission_id}",
            run_id=run_id,
            overdue_at=now + attempt.request.max_seconds,
        )
        return Submission(submission_id, attempt, now + deadline_seconds)


def _lock_account(connection: sa.Connection, account: str) -> float:
    """Serialise the claims of one account, and say when it may be sent to."""
    query = sa.select(accounts.c.not_before).where(accounts.c.account == account).with_for_update()
    not_before = connection.execute(query).scalar()
    if not_before is None:
        insert = insert_ignoring(connection, accounts)
        connection.execute(insert.values(account=account))
        not_before = connection.execute(query).scalar()
    return float(not_before or 0)


def _why_nothing(connection: sa.Connection, account: str, now: float) -> Later | None:
    waiting = connection.execute(
        sa.select(sa.func.count()).where(
            attempts.c.account == account, attempts.c.state == AttemptState.QUEUED.value
        )
    ).scalar()
    if not waiting:
        return None
    if apart.posting(connection, account, now):
        return Later(now + 0.2, "another submit to this endpoint is on its way", posting=True)
    return Later(now + 1, "the outcome of another submit to this endpoint is not known yet", lost=True)


def _over_limit(connection: sa.Connection, account: str, limits: Limits, now: float) -> Later | None:
    if limits.in_flight is not None:
        flying = connection.execute(
            sa.select(sa.func.count()).where(
                attempts.c.account == account,
                attempts.c.state.in_([s.value for s in IN_FLIGHT]),
                sa.or_(attempts.c.overdue_at.is_(None), attempts.c.overdue_at > now),
            )
        ).scalar_one()
        if flying >= limits.in_flight:
            return Later(now + 1, f"all {limits.in_flight} places of {account} are taken")
    if limits.in_order and apart.posting(connection, account, now):
        return Later(now + 0.2, f"a submit to {account} is on its way", posting=True)
    if limits.per_minute is not None:
        arrived = _arrived_at_the_latest()
        recent = connection.execute(
            sa.select(arrived)
            .where(
                submissions.c.account == account,
                arrived > now - WINDOW_SECONDS,
                submissions.c.state != SubmissionState.NOT_SENT.value,
            )
            .order_by(arrived.desc())
            .limit(limits.per_minute)
        ).scalars()
        arrivals = list(recent)
        if len(arrivals) >= limits.per_minute:
            return Later(
                # one that is on its way will be answered long before its deadline
                min(arrivals[-1], now) + WINDOW_SECONDS,
                f"{limits.per_minute} submits a minute to {account} are used up",
            )
    return None


def _arrived_at_the_latest() -> sa.ColumnElement[float]:
    """By when a POST has reached the provider, which counts its minute from then: at its answer, or else its deadline."""
    deadline = submissions.c.lease_until - LEASE_MARGIN_SECONDS
    return sa.case((submissions.c.ended_at < deadline, submissions.c.ended_at), else_=deadline)


def record_outcome(
    ledger: Ledger, submission: Submission, outcome: SubmitOutcome, *, run_id: str | None = None
) -> Attempt:
    """Write what a POST came to. A job id is kept whatever the attempt's state says by then.

    May be repeated: a POST that was answered once keeps its answer, and what comes later only adds a job id.

    Args:
        ledger: The record.
        submission: As `claim_next` returned it.
        outcome: What the provider's client says.
        run_id: For the journal.

    Returns:
        The attempt afterwards.
    """
    with ledger.write() as connection:
        if isinstance(outcome, Accepted):
            book_job(
                ledger,
                connection,
                submission.attempt.account,
                outcome.job_id,
                attempt_id=submission.attempt.id,
                submission_id=submission.id,
                source="answer",
            )
        first_answer = _close_submission(ledger, connection, submission, outcome)
        attempt = ledger.require(connection, submission.attempt.id)
        if not first_answer:
            return attempt
        match outcome:
            case Accepted():
                after = _accepted(ledger, connection, attempt, outcome, run_id)
                _calm_down(connection, attempt.account)
                return after
            case Rejected():
                after = _rejected(ledger, connection, attempt, outcome, run_id)
                _heed(ledger, connection, submission, outcome)
                return after
            case NotSent():
                why = f"not sent: {outcome.cause}"
                after = _not_created(ledger, connection, attempt, why, outcome_kind=None, run_id=run_id)
                pause(connection, attempt.account, ledger.clock() + NOT_SENT_SECONDS)
                return after
            case Unknown():
                return _unknown(ledger, connection, attempt, outcome.cause, run_id)


def _close_submission(
    ledger: Ledger, connection: sa.Connection, submission: Submission, outcome: SubmitOutcome
) -> bool:
    """Write down the first answer of a POST; False when it has one already. A lost one may still be found."""
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
    unanswered = [SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value]
    closed = connection.execute(
        sa.update(submissions)
        .where(submissions.c.id == submission.id, submissions.c.state.in_(unanswered))
        .values(state=state.value, ended_at=ledger.clock(), http_status=status, detail=detail)
    )
    return closed.rowcount == 1


def _accepted(
    ledger: Ledger, connection: sa.Connection, attempt: Attempt, outcome: Accepted, run_id: str | None
) -> Attempt:
    if attempt.state not in {AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD}:
        return attempt
    now = ledger.clock()
    return ledger.transition(
        connection,
        attempt,
        AttemptState.SUBMITTED,
        money=MoneyState.RESERVED,
        who="engine",
        why=f"job {outcome.job_id}",
        run_id=run_id,
        job_id=outcome.job_id,
        served_model=outcome.model,
        submitted_at=now,
        next_poll_at=now,
        overdue_at=now + attempt.request.max_seconds,
        reason=None,
        reason_kind=None,
    )


def _calm_down(connection: sa.Connection, account: str) -> None:
    """Forget earlier throttles: the account takes orders again."""
    connection.execute(
        sa.update(accounts).where(accounts.c.account == account, accounts.c.throttles > 0).values(throttles=0)
    )


def book_job(
    ledger: Ledger,
    connection: sa.Connection,
    account: str,
    job_id: str,
    *,
    attempt_id: str | None,
    submission_id: str | None,
    source: str,
) -> None:
    """Write down a job id, from whatever answer it came; a second sighting changes nothing."""
    connection.execute(
        insert_ignoring(connection, jobs).values(
            account=account,
            job_id=job_id,
            attempt_id=attempt_id,
            submission_id=submission_id,
            source=source,
            seen_at=ledger.clock(),
        )
    )


def _rejected(
    ledger: Ledger, connection: sa.Connection, attempt: Attempt, outcome: Rejected, run_id: str | None
) -> Attempt:
    if _may_be_sent_again(outcome) or attempt.state is not AttemptState.SUBMITTING:
        return _not_created(
            ledger, connection, attempt, outcome.message, outcome_kind=outcome.kind, run_id=run_id
        )
    return ledger.transition(
        connection,
        attempt,
        AttemptState.REJECTED,
        money=MoneyState.RELEASED,
        who="engine",
        why=outcome.message,
        run_id=run_id,
        reason=outcome.message,
        reason_kind=outcome.kind.value,
        finished_at=ledger.clock(),
    )


def _may_be_sent_again(outcome: Rejected) -> bool:
    """Whether the refusal is about the account and not about the clip, which then waits in the queue.

    A 401 is about the key. A 403 may be about this model alone (WaveSpeed contract: some models are not for every level),
    so its clip must not stay at the head of the queue.
    """
    return outcome.kind in {FailureKind.THROTTLED, FailureKind.INSUFFICIENT_FUNDS} or (
        outcome.kind is FailureKind.AUTH and outcome.http_status == 401
    )


def _heed(ledger: Ledger, connection: sa.Connection, submission: Submission, outcome: Rejected) -> None:
    """Do for the whole account what a refusal asks for: wait, or stop."""
    account = submission.attempt.account
    match outcome.kind:
        case FailureKind.THROTTLED:
            _throttle(ledger, connection, submission, outcome.retry_after)
        case FailureKind.INSUFFICIENT_FUNDS | FailureKind.AUTH:
            kind = StopKind(outcome.kind.value)
            halting.stop_account(connection, account, kind, outcome.message, now=ledger.clock())


def _throttle(
    ledger: Ledger, connection: sa.Connection, submission: Submission, retry_after: float | None
) -> None:
    """Pause the account. The pause doubles when what was sent after the last one is throttled again."""
    account = submission.attempt.account
    _lock_account(connection, account)
    row = connection.execute(sa.select(accounts).where(accounts.c.account == account)).one()
    started_at = connection.execute(
        sa.select(submissions.c.started_at).where(submissions.c.id == submission.id)
    ).scalar_one()
    # answers to POSTs that were on the wire together are one refusal
    again = row.throttled_at is None or started_at > row.throttled_at
    throttles = row.throttles + 1 if again else max(row.throttles, 1)
    asked = THROTTLE_SECONDS if retry_after is None else max(0.0, retry_after)
    grown = max(asked, 1.0) * 2.0 ** min(throttles - 1, 20) if throttles > 1 else 0.0
    wait = max(asked, min(grown, LONGEST_THROTTLE_SECONDS))
    now = ledger.clock()
    if again:
        connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account)
            .values(throttles=throttles, throttled_at=now)
        )
    pause(connection, account, now + wait)


def _not_created(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    why: str,
    *,
    outcome_kind: FailureKind | None,
    run_id: str | None,
) -> Attempt:
    """A POST that surely created nothing is sent again; where it was given up as unknown, this is the missing proof."""
    if attempt.state is AttemptState.SUBMITTING:
        return ledger.transition(
            connection, attempt, AttemptState.QUEUED, who="engine", why=why, run_id=run_id, overdue_at=None
        )
    if attempt.state not in {AttemptState.UNKNOWN, AttemptState.HELD}:
        return attempt
    return ledger.transition(
        connection,
        attempt,
        AttemptState.ABSENT,
        money=MoneyState.RELEASED,
        who="engine",
        why=why,
        run_id=run_id,
        reason=why,
        reason_kind=None if outcome_kind is None else outcome_kind.value,
        finished_at=ledger.clock(),
    )


def _unknown(
    ledger: Ledger, connection: sa.Connection, attempt: Attempt, cause: str, run_id: str | None
) -> Attempt:
    if attempt.state is not AttemptState.SUBMITTING:
        return attempt
    reason = f"it is not known whether {attempt.account} took the order ({cause}); it is not sent again, so that nothing is paid twice"
    return ledger.transition(
        connection,
        attempt,
        AttemptState.UNKNOWN,
        money=MoneyState.INDETERMINATE,
        who="engine",
        why=cause,
        run_id=run_id,
        reason=reason,
    )


def expire_submissions(ledger: Ledger, account: str) -> list[Attempt]:
    """Turn submits whose poster is dead into unknown ones: an expired lease permits reading, never a POST."""
    with ledger.read() as connection:
        overdue = list(
            connection.execute(
                sa.select(submissions.c.id, submissions.c.attempt_id).where(
                    submissions.c.account == account,
                    submissions.c.state == SubmissionState.OPEN.value,
                    submissions.c.lease_until < ledger.clock(),
                )
            )
        )
    expired = []
    for submission_id, attempt_id in overdue:
        with ledger.write() as connection:
            closed = connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == submission_id, submissions.c.state == SubmissionState.OPEN.value)
                .values(
                    state=SubmissionState.UNKNOWN.value,
                    ended_at=ledger.clock(),
                    detail="the process that sent it died",
                )
            )
            if closed.rowcount == 1:
                attempt = ledger.require(connection, attempt_id)
                expired.append(
                    _unknown(
                        ledger,
                        connection,
                        attempt,
                        "the process that sent it died before it wrote down the answer",
                        None,
                    )
                )
    return expired


def pause(connection: sa.Connection, account: str, until: float) -> None:
    """Send nothing to an account before a time; a longer pause stays."""
    _lock_account(connection, account)
    connection.execute(
        sa.update(accounts)
        .where(accounts.c.account == account, accounts.c.not_before < until)
        .values(not_before=until)
    )


def slow_down(ledger: Ledger, account: str, until: float) -> None:
    """Ask an account nothing before a time: it said that there is too much, to whichever of our requests."""
    with ledger.write() as connection:
        pause(connection, account, until)
        connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account, accounts.c.polls_not_before < until)
            .values(polls_not_before=until)
        )


def withdraw(
    ledger: Ledger,
    attempt_ids: list[str],
    *,
    why: str,
    kind: FailureKind | None = None,
    run_id: str | None = None,
) -> list[Attempt]:
    """Give up what is still queued among these attempts; their money is free again. What was sent stays as it is."""
    withdrawn = []
    for attempt_id in attempt_ids:
        with ledger.write() as connection:
            attempt = ledger.require(connection, attempt_id)
            if attempt.state is not AttemptState.QUEUED:
                continue
            withdrawn.append(
                ledger.transition(
                    connection,
                    attempt,
                    AttemptState.WITHDRAWN,
                    money=MoneyState.RELEASED,
                    who="engine",
                    why=why,
                    run_id=run_id,
                    reason=why,
                    reason_kind=kind.value if kind else None,
                    finished_at=ledger.clock(),
                )
            )
    return withdrawn


def withdraw_stale(ledger: Ledger, account: str, *, older_than_seconds: float) -> list[Attempt]:
    """Give up what has been queued for so long that whoever decided it no longer expects it."""
    with ledger.read() as connection:
        stale = connection.execute(
            sa.select(attempts.c.id).where(
                attempts.c.account == account,
                attempts.c.state == AttemptState.QUEUED.value,
                attempts.c.created_at < ledger.clock() - older_than_seconds,
            )
        ).scalars()
        ids = list(stale)
    hours = older_than_seconds / 3600
    return withdraw(
        ledger,
        ids,
        why=f"queued for more than {hours:.0f} h without a free place; nothing was sent. `dailies retry` asks again.",
    )


def next_price(ledger: Ledger, account: str) -> int | None:
    """What the next attempt in the queue was quoted at in micro-dollars, None when the queue is empty."""
    with ledger.read() as connection:
        return connection.execute(
            sa.select(attempts.c.quoted_micros)
            .where(attempts.c.account == account, attempts.c.state == AttemptState.QUEUED.value)
            .order_by(attempts.c.seq)
            .limit(1)
        ).scalar()


def queue_length(ledger: Ledger, account: str) -> int:
    """How many attempts of an account wait to be sent."""
    with ledger.read() as connection:
        return connection.execute(
            sa.select(sa.func.count()).where(
                attempts.c.account == account, attempts.c.state == AttemptState.QUEUED.value
            )
        ).scalar_one()
