"""Polls: which jobs are due, and the results of their polls.

A claim moves a poll's time forward, so that a sensor and a waiting run never poll the same job.
"""

import statistics
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from resources.ledger.database import lock_subject
from resources.ledger.decisions import try_again
from resources.ledger.disputes import believed_cost
from resources.ledger.ends import LATE_SECONDS, NOTHING_SEEN, SOON_SECONDS, is_explained, kind_of, sighting
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LONGEST_PAUSE_SECONDS
from resources.ledger.notes import note_draft_id, note_nsfw
from resources.ledger.records import Attempt
from resources.ledger.schema import NOT_DELIVERED, accounts, attempts, is_any_of, jobs, submissions
from resources.ledger.states import AT_PROVIDER, AttemptState, MoneyState
from resources.ledger.times import has_passed, is_misdated
from resources.providers.base import JobState, JobStatus
from resources.providers.provider import Capabilities

CLAIM_SECONDS = 150
"""The lease of a claimed poll: longer than two requests in a row may take."""

OBSERVATIONS = 20
NOTICED_SECONDS = 15.0
"""How long after a job's end a poll normally sees it, in seconds."""

LONGEST_POLL_PAUSE_SECONDS = 600.0
"""The longest delay that `reschedule` sets. A poll that is due later was dated by a clock that was ahead."""
_NOW: sa.BindParameter[float] = sa.bindparam("now", type_=sa.Double)

_PAUSED_UNTIL = sa.select(accounts.c.polls_not_before).where(accounts.c.account == sa.bindparam("account"))
_POLLED = sa.and_(
    attempts.c.account == sa.bindparam("account"),
    is_any_of(attempts.c.state, AT_PROVIDER),
    # a job without `next_poll_at` is not polled, and is not in the index
    attempts.c.next_poll_at.is_not(None),
)
_THESE = attempts.c.id.in_(sa.bindparam("ids", expanding=True))
_TO_POLL = (
    sa.select(attempts)
    .where(_POLLED)
    .order_by(attempts.c.next_poll_at)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_DUE = _TO_POLL.where(attempts.c.next_poll_at <= _NOW)
_MISDATED = _TO_POLL.where(is_misdated(attempts.c.next_poll_at, _NOW, within=LONGEST_POLL_PAUSE_SECONDS))
"""Together with `_DUE` the same as `is_past`, but as two ranges of an index: few of 10,000 jobs at a provider are due."""
_DUE_OF_THESE, _MISDATED_OF_THESE = _DUE.where(_THESE), _MISDATED.where(_THESE)
_CLAIM = sa.update(attempts).where(_THESE).values(next_poll_at=sa.bindparam("claimed_until"))
_RESCHEDULE = (
    sa.update(attempts)
    .where(
        attempts.c.id == sa.bindparam("attempt_id"),
        attempts.c.next_poll_at == sa.bindparam("claim"),
        # no IN, which SQLAlchemy cannot run for many rows at once
        sa.or_(*(attempts.c.state == state.value for state in sorted(AT_PROVIDER))),
    )
    .values(next_poll_at=sa.bindparam("at"))
)
_RESCHEDULE_RUNNING = _RESCHEDULE.values(polls=attempts.c.polls + 1, **NOTHING_SEEN)
_NEXT = sa.select(sa.func.min(attempts.c.next_poll_at)).where(_POLLED)
_NEXT_OF_THESE = _NEXT.where(_THESE)
_LAST_IN_DOUBT = sa.select(sa.func.max(attempts.c.next_poll_at)).where(
    _POLLED, attempts.c.end_kind.is_not(None), attempts.c.next_poll_at <= sa.bindparam("until")
)
_LATE = sa.select(attempts).where(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.state == AttemptState.SUBMITTED.value,
    NOT_DELIVERED,
    attempts.c.overdue_at < sa.bindparam("now"),
)


_NOTICED = attempts.c.finished_at - attempts.c.submitted_at
_STATED = attempts.c.inference_seconds + NOTICED_SECONDS
_TOOK = sa.case((sa.and_(attempts.c.inference_seconds > 0, _STATED < _NOTICED), _STATED), else_=_NOTICED)
_TOOK_LATELY, _POLLED_LATELY = (
    sa.select(of_each)
    .where(
        attempts.c.account == sa.bindparam("account"),
        attempts.c.endpoint == sa.bindparam("endpoint"),
        attempts.c.charge_source.is_not(None),
        attempts.c.submitted_at.is_not(None),
        attempts.c.finished_at.is_not(None),
    )
    .order_by(attempts.c.seq.desc())
    .limit(OBSERVATIONS)
    for of_each in (_TOOK, attempts.c.polls)
)


def claim_due(
    ledger: Ledger, account: str, *, limit: int, only: Collection[str] | None = None
) -> list[Attempt]:
    """Claim the polls of an account that are due, longest overdue first.

    The `next_poll_at` of each returned attempt is its claim; `reschedule` needs it unchanged.

    Args:
        limit: The most polls to claim.
        only: Ids of the attempts to choose from; None for all attempts of the account.
    """
    with ledger.write() as connection:
        now = ledger.clock()
        if paused_until(connection, account, now) > now:
            return []
        due: list[Attempt] = []
        for of_all, of_these in ((_DUE, _DUE_OF_THESE), (_MISDATED, _MISDATED_OF_THESE)):
            known = {"account": account, "now": now, "limit": limit - len(due)}
            if known["limit"]:
                rows = connection.execute(*_among(only, of_all, of_these, known))
                due += [Attempt.from_row(row) for row in rows]
        until = now + CLAIM_SECONDS
        if due:
            connection.execute(_CLAIM, {"ids": [a.id for a in due], "claimed_until": until})
        return [replace(attempt, next_poll_at=until) for attempt in due]


def paused_until(connection: sa.Connection, account: str, now: float) -> float:
    """When an account that answered a poll with 429 may be polled again; 0 if it may be polled now."""
    until = float(connection.execute(_PAUSED_UNTIL, {"account": account}).scalar() or 0)
    return 0.0 if has_passed(until, now, within=LONGEST_PAUSE_SECONDS) else until


def _among(
    only: Collection[str] | None, of_all: sa.Select[Any], of_these: sa.Select[Any], known: dict[str, Any]
) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The query for all jobs of an account, or for some, with its parameters."""
    return (of_all, known) if only is None else (of_these, {**known, "ids": list(only)})


def reschedule(ledger: Ledger, times: Iterable[tuple[Attempt, float]], *, polled: bool) -> None:
    """Set when each attempt is polled next, unless another process has claimed it since it was read.

    Args:
        times: Attempts as they were claimed or submitted, each with the seconds since the epoch to poll it at.
        polled: Whether to count a poll that saw the job running, which clears a doubtful end.
    """
    with ledger.write() as connection:
        latest = ledger.clock() + LONGEST_POLL_PAUSE_SECONDS
        # every writer locks rows in one order, which prevents deadlocks
        rows = [
            {"attempt_id": attempt.id, "claim": attempt.next_poll_at, "at": min(at, latest)}
            for attempt, at in sorted(times, key=lambda entry: entry[0].id)
        ]
        if rows:
            connection.execute(_RESCHEDULE_RUNNING if polled else _RESCHEDULE, rows)


def see_end(
    ledger: Ledger,
    attempt: Attempt,
    state: JobState,
    capabilities: Capabilities,
    *,
    run_id: str | None = None,
) -> Attempt:
    """Record an answer that a job is over. An output is believed at once; every other end must be seen again first.

    Args:
        attempt: As it was claimed.
        state: A final state of its job.
        capabilities: See `record_end`.

    Returns:
        The attempt afterwards; still at the provider if its end is not believed yet.
    """
    if state.status is not JobStatus.SUCCEEDED:
        with ledger.transaction(who="engine", run_id=run_id) as tx:
            attempt = tx.attempt(attempt.id)
            if attempt.state not in AT_PROVIDER:
                return attempt
            now = tx.now()
            message = state.error or f"{state.raw_status!r} and no more"
            sighted = sighting(attempt, kind_of(state), message, explained=is_explained(state), now=now)
            if not sighted.believed:
                tx.connection.execute(
                    sa.update(attempts)
                    .where(attempts.c.id == attempt.id)
                    .values(polls=attempt.polls + 1, next_poll_at=now + sighted.again_in, **sighted.columns)
                )
                return tx.attempt(attempt.id)
    return record_end(ledger, attempt, state, capabilities, run_id=run_id)


def record_end(
    ledger: Ledger,
    attempt: Attempt,
    state: JobState,
    capabilities: Capabilities,
    *,
    run_id: str | None = None,
) -> Attempt:
    """Record a job's believed end: succeeded, failed or vanished. A recorded end stays.

    A job without an output is still polled, ever more rarely; see `late_jobs.py`. A failure that may pass queues the next
    purchase in the same transaction, if the decision may buy one.

    Args:
        attempt: As it was claimed.
        state: A final state of its job.
        capabilities: How long the provider keeps outputs, and whether it charges for failed jobs first.
    """
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        lock_subject(tx.connection, attempt.subject_key)
        attempt = tx.attempt(attempt.id)
        if attempt.state not in AT_PROVIDER:
            return attempt
        now = tx.now()
        values = {
            "polls": attempt.polls + 1,
            "finished_at": now,
            "next_poll_at": None,
            "served_model": state.model or attempt.served_model,
            "inference_seconds": state.inference_seconds,
            "copy_deadline": None
            if capabilities.output_seconds is None
            else now + capabilities.output_seconds,
            **NOTHING_SEEN,
        }
        if state.status is JobStatus.SUCCEEDED:
            booked = believed_cost(tx, attempt, state.cost_micros)
            note_nsfw(tx.connection, attempt.id, state.nsfw)
            note_draft_id(tx.connection, attempt.id, state.draft_id)
            return tx.transition(
                attempt,
                AttemptState.SUCCEEDED,
                money=MoneyState.CONFIRMED,
                why=f"{state.raw_status} after {now - (attempt.submitted_at or now):.0f} s",
                reason=None,
                outputs=list(state.outputs),
                charged_micros=booked.micros,
                charge_source=booked.source,
                **values,
            )
        gone, kind = state.status is JobStatus.GONE, kind_of(state)
        values["late_at"] = now + LATE_SECONDS
        money = MoneyState.RELEASED
        if gone:
            money = MoneyState.INDETERMINATE
        elif capabilities.refunds_failures:
            money = MoneyState.REFUND_EXPECTED
        elif state.may_be_charged:
            money = MoneyState.CONFIRMED
            values |= {"charged_micros": attempt.quoted_micros, "charge_source": "quote"}
        reason = state.error or f"{attempt.account} says {state.raw_status!r} and no more"
        ended = tx.transition(
            attempt,
            AttemptState.VANISHED if gone else AttemptState.FAILED,
            money=money,
            why=reason,
            reason=reason,
            reason_kind=kind.value,
            **values,
        )
        if not ended.is_spare:
            try_again(tx, ended)
        return ended


def posted_at_provider(ledger: Ledger, attempt: Attempt) -> float | None:
    """The latest time at which the POST of a job began, by the provider's clock; None if its offset was not measured."""
    query = (
        sa.select(submissions.c.started_at + submissions.c.clock_high)
        .join(jobs, jobs.c.submission_id == submissions.c.id)
        .where(jobs.c.account == attempt.account, jobs.c.job_id == attempt.job_id)
    )
    with ledger.read() as connection:
        at = connection.execute(query).scalar()
        return None if at is None else float(at)


def mark_overdue(ledger: Ledger, account: str) -> list[Attempt]:
    """Move jobs that run too long to `overdue`, where they free their slot, keep their money and are polled slowly."""
    with ledger.read() as connection:
        rows = connection.execute(_LATE, {"account": account, "now": ledger.clock()})
        late = [Attempt.from_row(row) for row in rows]
    moved = []
    for attempt in late:
        reason = f"job {attempt.job_id} has run for more than {attempt.request.max_seconds:.0f} s; it is still polled, slowly"
        with ledger.transaction(who="engine", run_id=None) as tx:
            fresh = tx.attempt(attempt.id)
            if fresh.state is AttemptState.SUBMITTED:
                moved.append(tx.transition(fresh, AttemptState.OVERDUE, why=reason, reason=reason))
    return moved


def usual_seconds(ledger: Ledger, account: str, endpoints: Collection[str]) -> dict[str, float]:
    """The usual time of jobs of these endpoints on this account, in seconds: after it a quarter of the last twenty had ended.

    After the median, the first poll would come when half of the jobs have ended. The time of a job is the time that its provider states
    plus `NOTICED_SECONDS` at most, so that an hour without polls does not count. Endpoints with fewer than three finished jobs are
    left out.
    """
    usual: dict[str, float] = {}
    for endpoint, seconds in _recent_values(ledger, account, endpoints, _TOOK_LATELY).items():
        if len(seconds) >= 3:
            usual[endpoint] = statistics.quantiles(seconds, n=4, method="inclusive")[0]
    return usual


def over_at_first_poll(ledger: Ledger, account: str, endpoints: Collection[str]) -> frozenset[str]:
    """The endpoints whose jobs were mostly over at their first poll, so that the first poll comes too late.

    Without this, the usual time could only grow, since no poll sees an end before the first one.
    """
    polls = _recent_values(ledger, account, endpoints, _POLLED_LATELY)
    return frozenset(
        endpoint for endpoint, numbers in polls.items() if numbers and statistics.median(numbers) <= 1
    )


def _recent_values(
    ledger: Ledger, account: str, endpoints: Collection[str], of_each: sa.Select[Any]
) -> dict[str, list[float]]:
    """One value of each of the last twenty finished jobs, by endpoint."""
    lately: dict[str, list[float]] = {}
    with ledger.read() as connection:
        for endpoint in endpoints:
            values = connection.execute(of_each, {"account": account, "endpoint": endpoint}).scalars()
            lately[endpoint] = [float(value) for value in values]
    return lately


def last_confirmation(ledger: Ledger, account: str) -> float | None:
    """The last time at which a failure that was seen once will be confirmed by a poll, within `SOON_SECONDS`."""
    until = ledger.clock() + SOON_SECONDS
    with ledger.read() as connection:
        at = connection.execute(_LAST_IN_DOUBT, {"account": account, "until": until}).scalar()
        return None if at is None else float(at)


def next_poll_time(ledger: Ledger, account: str, *, only: Collection[str] | None = None) -> float | None:
    """When the next poll of an account is due; None if no job is at the provider.

    Args:
        only: Ids of the attempts to consider; None for all attempts of the account.
    """
    with ledger.read() as connection:
        at = connection.execute(*_among(only, _NEXT, _NEXT_OF_THESE, {"account": account})).scalar()
        if at is None:
            return None
        now = ledger.clock()
        due = now if has_passed(at, now, within=LONGEST_POLL_PAUSE_SECONDS) else float(at)
        return max(due, paused_until(connection, account, now))
