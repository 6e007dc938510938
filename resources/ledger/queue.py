"""The queue of an account: the next submission, and withdrawing attempts that were not sent.

A POST is sent only after `claim_next` has committed its submission; `outcomes.py` records its outcome.
"""

import secrets
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import heartbeats, stops
from resources.ledger.ledger import Ledger
from resources.ledger.limits import (
    LEASE_MARGIN_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Later,
    Limits,
    blocked_endpoints,
    lock_account,
    over_limit,
    posting,
)
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import NOT_DELIVERED, attempts, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.times import has_passed
from resources.orders import ClipRequest
from resources.providers.base import ClockOffset, FailureKind

STOPPED_SECONDS = 30


_QUEUED = sa.and_(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.state == AttemptState.QUEUED.value,
    NOT_DELIVERED,
)
_NEXT = (
    sa.select(attempts)
    .where(_QUEUED, attempts.c.endpoint.not_in(sa.bindparam("blocked", expanding=True)))
    .order_by(attempts.c.seq)
    .limit(1)
    .with_for_update()
)
_NEXT_PRICE = sa.select(attempts.c.quoted_micros).where(_QUEUED).order_by(attempts.c.seq).limit(1)
_OPEN = sa.insert(submissions)
_QUEUE_LENGTH = sa.select(sa.func.count()).select_from(attempts).where(_QUEUED)
_QUEUED_BEFORE = sa.select(attempts.c.id).where(_QUEUED, attempts.c.created_at < sa.bindparam("before"))


@dataclass(frozen=True)
class PostTerms:
    """How the POSTs of one account are sent."""

    limits: Limits
    """The account's limits, unless the ledger's policy has others."""
    deadline_seconds: float
    """The hard deadline of a POST; its lease ends a margin after it."""
    traceable: bool = True
    """Whether the provider's listing names our submission ids; see `limits.blocked_endpoints`."""
    seeds_tell: bool = False
    """Whether the listing shows each job's request, whose seed names the POST if the POST has its own seed."""
    clock_offset: ClockOffset | None = None
    """How far the provider's clock is ahead now, for a later search of its listing."""


def claim_next(
    ledger: Ledger, account: str, terms: PostTerms, *, run_id: str | None = None
) -> Submission | Later | None:
    """Commit the submission of an account's oldest queued attempt. Only after this may the POST be sent.

    The queue is first in, first out across all processes: a process sends the oldest attempt, even one that another process queued.

    Returns:
        The submission to send now, `Later` if the queue must wait, None if it is empty.

    Raises:
        RunLostError: The run was lost; it sends nothing more.
    """
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        heartbeats.require(tx.connection, run_id)
        not_before = lock_account(tx.connection, account)
        now = tx.now()  # a time read before the wait for the lock would antedate the submit
        blocked = blocked_endpoints(
            tx.connection, account, now, traceable=terms.traceable, seeds_tell=terms.seeds_tell
        )
        queued = tx.connection.execute(_NEXT, {"account": account, "blocked": sorted(blocked)}).first()
        if queued is None:
            return _why_nothing(tx.connection, account, now)
        stop = stops.stop_for(tx.connection, account)
        if stop is not None:
            return Later(now + STOPPED_SECONDS, str(stop), stop=stop)
        if not has_passed(not_before, now, within=LONGEST_PAUSE_SECONDS):
            return Later(not_before, f"{account} asked for a pause")
        policy = tx.policy.read(tx.connection)
        if policy.refusal is not None:
            return Later(now + STOPPED_SECONDS, policy.refusal, refused=True)
        later = over_limit(tx.connection, account, policy.limits(account, terms.limits), now)
        if later is not None:
            return later
        attempt = Attempt.from_row(queued)
        submission_id, offset = uuid.uuid4().hex, terms.clock_offset
        seed = _own_seed(attempt.request)
        # PostgreSQL may have counted a slot that became free after `now`, and the submit must be dated after that
        now = tx.now()
        tx.connection.execute(
            _OPEN,
            {
                "id": submission_id,
                "attempt_id": attempt.id,
                "account": account,
                "state": SubmissionState.OPEN.value,
                "owner": ledger.owner,
                "started_at": now,
                "lease_until": now + terms.deadline_seconds + LEASE_MARGIN_SECONDS,
                "clock_low": None if offset is None else offset.low,
                "clock_high": None if offset is None else offset.high,
                "seed": seed,
            },
        )
        attempt = tx.transition(
            attempt,
            AttemptState.SUBMITTING,
            why=f"submission {submission_id}",
            overdue_at=now + attempt.request.max_seconds,
        )
        return Submission(submission_id, attempt, now + terms.deadline_seconds, seed)


def _own_seed(request: ClipRequest) -> int | None:
    """The seed of one POST: its take's seed if there is one; None if the series names a seed or the model takes none."""
    if request.take_seed is not None:
        return request.sent_seed
    if request.seed is None or request.has_seed:
        return None
    return request.seed.drawn(secrets.randbits(48))


def _why_nothing(connection: sa.Connection, account: str, now: float) -> Later | None:
    if connection.execute(_NEXT_PRICE, {"account": account}).first() is None:
        return None
    if posting(connection, account, now):
        return Later(now + 0.2, "another submit to this endpoint is on its way", posting=True)
    return Later(now + 1, "the outcome of another submit to this endpoint is not known yet", lost=True)


def withdraw(
    ledger: Ledger,
    attempt_ids: list[str],
    *,
    why: str,
    account: str | None = None,
    kind: FailureKind | None = None,
    run_id: str | None = None,
) -> list[Attempt]:
    """Withdraw the attempts that are still queued, and release their money. Other attempts stay unchanged.

    Args:
        why: One sentence for a person.
        account: Only attempts of this account; None for all.

    Raises:
        RunLostError: The run was lost; other processes continue its queue.
    """
    withdrawn = []
    for attempt_id in attempt_ids:
        with ledger.transaction(who="engine", run_id=run_id) as tx:
            heartbeats.require(tx.connection, run_id)
            attempt = tx.attempt_alone(attempt_id)
            if attempt.state is not AttemptState.QUEUED or account not in {None, attempt.account}:
                continue
            withdrawn.append(
                tx.transition(
                    attempt,
                    AttemptState.WITHDRAWN,
                    money=MoneyState.RELEASED,
                    why=why,
                    reason=why,
                    reason_kind=kind.value if kind else None,
                    finished_at=tx.now(),
                )
            )
    return withdrawn


def withdraw_stale(ledger: Ledger, account: str, *, older_than_seconds: float) -> list[Attempt]:
    """Withdraw attempts that have been queued for more than `older_than_seconds`."""
    with ledger.read() as connection:
        before = ledger.clock() - older_than_seconds
        ids = list(connection.execute(_QUEUED_BEFORE, {"account": account, "before": before}).scalars())
    hours = older_than_seconds / 3600
    return withdraw(
        ledger,
        ids,
        why=f"queued for more than {hours:.0f} h without a free place; nothing was sent. `dailies retry` asks again.",
    )


def next_price(ledger: Ledger, account: str) -> int | None:
    """The quote of the next attempt in the queue, in micro-USD; None if the queue is empty."""
    with ledger.read() as connection:
        return connection.execute(_NEXT_PRICE, {"account": account}).scalar()


def queue_length(ledger: Ledger, account: str) -> int:
    """How many attempts of an account are queued."""
    with ledger.read() as connection:
        return connection.execute(_QUEUE_LENGTH, {"account": account}).scalar_one()
