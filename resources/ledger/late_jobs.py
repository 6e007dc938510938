"""Late jobs: jobs that ended without an output, polled ever more rarely while their provider would keep an output.

If a provider takes an end back, it has charged the job. The output becomes a spare take, which takes over the job and its money
from the purchase that ended. A replacement may have been bought meanwhile, so a spare take is never its clip's current take.
"""

import sqlalchemy as sa

from resources.ledger import disputes, spare_takes
from resources.ledger.database import lock_subject
from resources.ledger.ends import LATE_SECONDS
from resources.ledger.jobs import NamedJob
from resources.ledger.ledger import Ledger
from resources.ledger.polls import CLAIM_SECONDS, paused_until, record_end
from resources.ledger.records import CLIP, SPARE, Attempt
from resources.ledger.schema import attempts, is_any_of, jobs
from resources.ledger.states import WITHOUT_OUTPUT, AttemptState, MoneyState
from resources.ledger.times import CLOCKS_SECONDS, is_past
from resources.ledger.transaction import Booked
from resources.providers.base import JobState
from resources.providers.provider import Capabilities

AT_ONCE = 8
"""The most late jobs that one step polls."""
LONGEST_PAUSE_SECONDS = 86_400.0
_SHORTEST_PAUSE_SECONDS = max(LATE_SECONDS, CLAIM_SECONDS)

_NOW = sa.bindparam("now", type_=sa.Double)
# a pause is at most twice the time since the end, so a clock that was ahead has set any longer one
_TOO_FAR_AHEAD = sa.and_(
    attempts.c.late_at > _NOW + (_SHORTEST_PAUSE_SECONDS + CLOCKS_SECONDS),
    attempts.c.late_at > _NOW + 2 * (_NOW - attempts.c.finished_at) + CLOCKS_SECONDS,
)

_DUE = sa.and_(
    attempts.c.account == sa.bindparam("account"),
    is_any_of(attempts.c.state, WITHOUT_OUTPUT),
    # a job without `late_at` is never polled again, and is not in the index
    attempts.c.late_at.is_not(None),
    sa.or_(is_past(attempts.c.late_at, _NOW, within=LONGEST_PAUSE_SECONDS), _TOO_FAR_AHEAD),
    attempts.c.job_id.is_not(None),
    is_any_of(attempts.c.subject_kind, [CLIP, SPARE]),
    # a refunded job is no longer ours
    attempts.c.money_state != MoneyState.REFUNDED.value,
    # the output of a lost spare take was gone: its job would be found and lost again and again
    sa.or_(attempts.c.subject_kind != SPARE, attempts.c.state != AttemptState.LOST.value),
)
_OVERDUE = (
    sa.select(attempts)
    .where(attempts.c.subject_key == sa.bindparam("clip"), attempts.c.state == AttemptState.OVERDUE.value)
    .order_by(attempts.c.seq.desc())
)
_ANY_DUE = sa.select(sa.exists().where(_DUE))
_FIRST_DUE = sa.select(attempts).where(_DUE).order_by(attempts.c.late_at).limit(AT_ONCE)


def is_due(ledger: Ledger, account: str) -> bool:
    """Whether a late job of an account is due, even if the account has no open purchase."""
    with ledger.read() as connection:
        return bool(connection.execute(_ANY_DUE, {"account": account, "now": ledger.clock()}).scalar())


def claim_late(ledger: Ledger, account: str) -> list[Attempt]:
    """Claim the late jobs that are due, `AT_ONCE` at most, and drop those whose output would be deleted by now."""
    if not is_due(ledger, account):
        return []
    with ledger.write() as connection:
        now = ledger.clock()
        if paused_until(connection, account, now) > now:
            return []
        query = _FIRST_DUE.with_for_update(skip_locked=True)
        due = [Attempt.from_row(row) for row in connection.execute(query, {"account": account, "now": now})]
        for attempt in due:
            at = now + CLAIM_SECONDS if now < attempt.kept_until else None
            _ask_at(connection, attempt, at)
        return [attempt for attempt in due if now < attempt.kept_until]


def ask_later(ledger: Ledger, attempt: Attempt) -> None:
    """Set the next poll of a late job, after twice the time since its end: minutes at first, a day at most."""
    with ledger.write() as connection:
        now = ledger.clock()
        pause = min(max(2 * (now - (attempt.finished_at or now)), LATE_SECONDS), LONGEST_PAUSE_SECONDS)
        _ask_at(connection, attempt, now + pause)


def keep_late(
    ledger: Ledger, attempt: Attempt, state: JobState, capabilities: Capabilities
) -> Attempt | None:
    """Make a spare take of a job that is completed after all; None if its purchase has changed meanwhile.

    Args:
        attempt: As it was claimed.
        state: The answer with its output.
        capabilities: See `resources.ledger.polls.record_end`.
    """
    with ledger.transaction(who="engine", run_id=None) as tx:
        lock_subject(tx.connection, attempt.clip)
        ended = tx.attempt(attempt.id)
        if ended.version != attempt.version or ended.job_id is None:
            return None
        why = f"its job {ended.job_id} is {state.raw_status} after all: it is kept as a spare take, which has its money now"
        tx.connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == ended.id)
            .values(job_id=None, late_at=None, reason=f"{ended.reason or ended.state} ({why})")
        )
        tx.settle(ended, MoneyState.RELEASED, Booked(None, None), why=why)
        submission_id = tx.connection.execute(
            sa.select(jobs.c.submission_id).where(
                jobs.c.account == ended.account, jobs.c.job_id == ended.job_id
            )
        ).scalar()
        job = NamedJob(ended.job_id, state.model, "poll")
        spare = spare_takes.keep(tx, ended, submission_id, job)
        disputes.hand_over(tx.connection, ended, spare)
    return record_end(ledger, spare, state, capabilities)


def overdue_of(ledger: Ledger, clip: str) -> Attempt | None:
    """The overdue attempt of a clip; None if there is none."""
    with ledger.read() as connection:
        row = connection.execute(_OVERDUE, {"clip": clip}).first()
    return None if row is None else Attempt.from_row(row)


def give_up(ledger: Ledger, overdue: Attempt, *, who: str, why: str) -> Attempt:
    """Abandon an overdue job because a person says so: a new decision may buy the clip.

    Its money stays counted until the bill says more. The job is polled ever more rarely, and its output is a spare take.

    Raises:
        DailiesError: The attempt has changed since it was read. Nothing was written.
    """
    with ledger.transaction(who=who, run_id=None) as tx:
        lock_subject(tx.connection, overdue.subject_key)
        now = tx.now()
        return tx.transition(
            overdue,
            AttemptState.ABANDONED,
            money=MoneyState.INDETERMINATE,
            why=why,
            reason=f"job {overdue.job_id} was abandoned: {why}",
            finished_at=now,
            next_poll_at=None,
            late_at=now + LATE_SECONDS,
        )


def _ask_at(connection: sa.Connection, attempt: Attempt, at: float | None) -> None:
    mine = (attempts.c.id == attempt.id, attempts.c.version == attempt.version)
    connection.execute(sa.update(attempts).where(*mine).values(late_at=at))
