"""Shared by the ledger's tests: a clock that a test moves, requests, and shortcuts to a state."""

import contextlib
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import sqlalchemy as sa

from proof.clock import Clock
from resources.ledger import limits, outcomes, polls, queue
from resources.ledger.decisions import Decided, Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import journal, submissions
from resources.ledger.states import TRANSITIONS, AttemptState, MoneyState, SubmissionState
from resources.orders import ClipRequest, Expected
from resources.providers.base import (
    Accepted,
    FailureKind,
    JobState,
    JobStatus,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from resources.providers.provider import Capabilities

ACCOUNT = "wavespeed"
DEADLINE = 30.0
NO_LIMITS = Limits()

NEVER_CHARGED = Capabilities(echoes_submission_id=True, output_seconds=None, settle_seconds=60)
CHARGED_FIRST = Capabilities(
    echoes_submission_id=False,
    output_seconds=7 * 86_400,
    settle_seconds=60,
    refunds_failures=True,
)

LEGAL_MONEY: dict[AttemptState, set[MoneyState]] = {
    AttemptState.QUEUED: {MoneyState.RESERVED},
    AttemptState.SUBMITTING: {MoneyState.RESERVED},
    AttemptState.UNKNOWN: {MoneyState.INDETERMINATE},
    AttemptState.HELD: {MoneyState.INDETERMINATE},
    AttemptState.SUBMITTED: {MoneyState.RESERVED},
    AttemptState.OVERDUE: {MoneyState.RESERVED},
    AttemptState.SUCCEEDED: {MoneyState.CONFIRMED, MoneyState.REFUNDED},
    AttemptState.DELIVERED: {MoneyState.CONFIRMED, MoneyState.REFUNDED},
    AttemptState.QUARANTINED: {MoneyState.CONFIRMED, MoneyState.REFUNDED},
    AttemptState.LOST: {MoneyState.CONFIRMED, MoneyState.REFUNDED},
    AttemptState.WITHDRAWN: {MoneyState.RELEASED},
    AttemptState.REJECTED: {MoneyState.RELEASED},
    AttemptState.ABSENT: {MoneyState.RELEASED},
    AttemptState.FAILED: {
        MoneyState.RELEASED,
        MoneyState.REFUND_EXPECTED,
        MoneyState.REFUNDED,
        MoneyState.CONFIRMED,
    },
    AttemptState.VANISHED: {
        MoneyState.INDETERMINATE,
        MoneyState.CONFIRMED,
        MoneyState.REFUNDED,
        MoneyState.RELEASED,
    },
    AttemptState.ABANDONED: {MoneyState.INDETERMINATE, MoneyState.RESERVED, MoneyState.RELEASED},
}
"""The states of money that each state of an attempt allows: money never disappears and is never counted twice."""


@contextlib.contextmanager
def process_pool(count: int) -> Iterator[tuple[ProcessPoolExecutor, Barrier]]:
    """Real processes, forked from one that has only imported what they need, and the barrier at which they start.

    If one dies, its test ends with an error; `multiprocessing.Pool` would wait for its answer for ever.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "resources.production.batch", "resources.providers.wavespeed.client", "resources.sandbox"]
    )
    with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as pool:
        yield pool, manager.Barrier(count)


@dataclass
class Ids:
    """Job ids that never repeat within a test."""

    used: int = field(default=0)

    def __call__(self) -> str:
        self.used += 1
        return f"job-{self.used}"


def a_request(clip: str = "city-sunset", **changes: Any) -> ClipRequest:
    """A valid request; `prompt` changes the body and thereby the fingerprint."""
    prompt = changes.pop("prompt", "a city at sunset")
    values: dict[str, Any] = {
        "clip": clip,
        "series": "city",
        "provider": ACCOUNT,
        "endpoint": "openai/sora-2/text-to-video",
        "body": {"prompt": prompt, "duration": 4},
        "price_micros": 400_000,
        "expected": Expected(),
    }
    return ClipRequest(**(values | changes))


def decided(
    ledger: Ledger,
    request: ClipRequest | None = None,
    *,
    decision: str = "monday",
    run_id: str | None = None,
    **how: Any,
) -> Decided:
    """The decision about one clip."""
    (verdict,) = decide(ledger, [request or a_request()], Decision(decision, **how), run_id=run_id)
    return verdict


def queued(ledger: Ledger, request: ClipRequest | None = None, **how: Any) -> Attempt:
    """Queue a clip anew."""
    attempt = decided(ledger, request, **how).attempt
    assert attempt is not None
    assert attempt.state is AttemptState.QUEUED
    return attempt


def claimed(ledger: Ledger, account: str = ACCOUNT, limits: Limits = NO_LIMITS) -> Submission:
    """Claim the next submission, which must be possible."""
    submission = claim_next(ledger, account, PostTerms(limits, DEADLINE))
    assert isinstance(submission, Submission), submission
    return submission


def accepted(job_id: str = "job-1", model: str | None = None) -> Accepted:
    return Accepted(job_id, model, {"id": job_id})


def rejected(kind: FailureKind = FailureKind.INVALID, *, retry_after: float | None = None) -> Rejected:
    return Rejected(kind, f"the provider says {kind}", 400, retry_after=retry_after)


def submitted(
    ledger: Ledger, request: ClipRequest | None = None, *, job_id: str = "job-1", **how: Any
) -> Attempt:
    """A clip whose job is at the provider. No other clip may be queued."""
    queued(ledger, request, **how)
    attempt = record_outcome(ledger, claimed(ledger), accepted(job_id))
    assert attempt.state is AttemptState.SUBMITTED
    return attempt


def succeeded(
    ledger: Ledger, request: ClipRequest | None = None, *, job_id: str = "job-1", **how: Any
) -> Attempt:
    """A clip whose generation waits to be fetched."""
    attempt = submitted(ledger, request, job_id=job_id, **how)
    return polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)


def a_state(status: JobStatus = JobStatus.SUCCEEDED, **changes: Any) -> JobState:
    """The state that a poll reads."""
    if status is JobStatus.SUCCEEDED:
        changes.setdefault("outputs", ("https://cdn.example/clip.mp4",))
    return JobState(status, status.value, **changes)


def read(ledger: Ledger, attempt: Attempt) -> Attempt:
    """The attempt as the ledger has it now."""
    return ledger.attempts([attempt.id])[attempt.id]


def put_into(ledger: Ledger, clock: Clock, state: AttemptState) -> tuple[Submission, Attempt]:
    """A clip in `state`, with the submission that was claimed for it.

    Allows only states that an attempt can have after a claim.
    """
    queued(ledger)
    submission = claimed(ledger)
    attempt = submission.attempt
    if state is AttemptState.SUBMITTING:
        return submission, attempt
    if state in {AttemptState.UNKNOWN, AttemptState.HELD, AttemptState.ABSENT, AttemptState.ABANDONED}:
        clock.forward(DEADLINE + limits.LEASE_MARGIN_SECONDS + 1)
        (attempt,) = outcomes.expire_submissions(ledger, ACCOUNT)
        with ledger.transaction(who="test", run_id=None) as tx:
            if state in {AttemptState.HELD, AttemptState.ABANDONED}:
                attempt = tx.transition(attempt, AttemptState.HELD)
            if state is AttemptState.ABANDONED:
                attempt = tx.transition(attempt, state)
            if state is AttemptState.ABSENT:
                attempt = tx.transition(attempt, state, money=MoneyState.RELEASED)
        return submission, attempt
    outcome: SubmitOutcome
    if state is AttemptState.REJECTED:
        outcome = rejected()
    elif state in {AttemptState.QUEUED, AttemptState.WITHDRAWN}:
        outcome = rejected(FailureKind.THROTTLED)
    else:
        outcome = accepted()
    attempt = record_outcome(ledger, submission, outcome)
    if state is AttemptState.WITHDRAWN:
        (attempt,) = queue.withdraw(ledger, [attempt.id], why="no longer wanted")
    if state is AttemptState.OVERDUE:
        clock.forward(attempt.request.max_seconds + 1)
        (attempt,) = polls.mark_overdue(ledger, ACCOUNT)
    ends = {
        AttemptState.FAILED: JobStatus.FAILED,
        AttemptState.VANISHED: JobStatus.GONE,
        AttemptState.SUCCEEDED: JobStatus.SUCCEEDED,
        AttemptState.DELIVERED: JobStatus.SUCCEEDED,
        AttemptState.QUARANTINED: JobStatus.SUCCEEDED,
        AttemptState.LOST: JobStatus.SUCCEEDED,
    }
    if state in ends:
        attempt = polls.record_end(ledger, attempt, a_state(ends[state]), NEVER_CHARGED)
    if state in {AttemptState.DELIVERED, AttemptState.QUARANTINED, AttemptState.LOST}:
        with ledger.transaction(who="test", run_id=None) as tx:
            attempt = tx.transition(attempt, state)
    assert attempt.state is state
    return submission, attempt


def submission_state(ledger: Ledger, submission: Submission) -> SubmissionState:
    """The ledger's state of a POST."""
    with ledger.read() as connection:
        query = sa.select(submissions.c.state).where(submissions.c.id == submission.id)
        return SubmissionState(connection.execute(query).scalar_one())


def the_journal_is_whole(
    ledger: Ledger, attempt: Attempt, entries: list[dict[str, Any]] | None = None
) -> None:
    """Versions are 1..n without a gap, each step is allowed, the last one equals the row, and the money is legal at every step."""
    entries = ledger.history(attempt.id) if entries is None else entries
    assert [entry["version"] for entry in entries] == list(range(1, attempt.version + 1))
    assert entries[0]["from_state"] is None
    for before, after in itertools.pairwise(entries):
        assert after["from_state"] == before["to_state"]
        # a bill changes the money and keeps the state
        settled = after["to_state"] == after["from_state"]
        assert settled or AttemptState(after["to_state"]) in TRANSITIONS[AttemptState(after["from_state"])]
        assert after["at"] >= before["at"]
    assert entries[-1]["to_state"] == attempt.state
    assert entries[-1]["money_state"] == attempt.money_state
    for entry in entries:
        assert MoneyState(entry["money_state"]) in LEGAL_MONEY[AttemptState(entry["to_state"])], entry


def everything(ledger: Ledger) -> list[Attempt]:
    """All attempts, oldest first."""
    with ledger.read() as connection:
        ids = connection.execute(sa.select(journal.c.attempt_id).distinct()).scalars().all()
    return sorted(ledger.attempts(ids).values(), key=lambda attempt: attempt.seq)


def unknown(cause: str = "read timed out") -> Unknown:
    return Unknown(cause)
