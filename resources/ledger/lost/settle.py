"""A person's settlement of an unknown or held purchase: a job is named, the clip is bought again, or it is written off.

The journal keeps who settled it and why.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger.database import lock_subject
from resources.ledger.jobs import NamedJob
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import adopt, close_absent, hold
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, submissions
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import Transaction

PERSONS_RESUBMISSIONS = 1_000
"""No limit in practice, because each one is a person's own decision."""


@dataclass(frozen=True)
class Unsettled:
    """A clip whose order may or may not have been taken."""

    attempt: Attempt
    """Unknown or held."""
    submission_id: str
    """Its POST."""
    sent_at: float
    """When the POST was sent, in seconds since the epoch."""
    candidates: list[dict[str, Any]]
    """Jobs that may belong to it: `job`, `model`, `created_at`, `status`, `charged_usd`."""


def unsettled(ledger: Ledger, *, clip: str | None = None) -> list[Unsettled]:
    """All unknown and held purchases, oldest first, or those of one clip."""
    states = [AttemptState.UNKNOWN.value, AttemptState.HELD.value]
    query = (
        sa.select(
            attempts, submissions.c.id.label("post"), submissions.c.started_at, submissions.c.candidates
        )
        .join(submissions, submissions.c.attempt_id == attempts.c.id)
        .where(attempts.c.state.in_(states), submissions.c.state == SubmissionState.UNKNOWN.value)
        .order_by(submissions.c.started_at)
    )
    if clip is not None:
        query = query.where(
            attempts.c.subject_kind.in_(["clip", "character"]), attempts.c.subject_key == clip
        )
    with ledger.read() as connection:
        rows = [(row.id, row.post, row.started_at, row.candidates or []) for row in connection.execute(query)]
    known = ledger.attempts([attempt_id for attempt_id, *_ in rows])
    return [Unsettled(known[attempt_id], *rest) for attempt_id, *rest in rows]


def adopt_named_job(ledger: Ledger, clip: str, job_id: str, *, who: str, why: str) -> Attempt:
    """Give a clip the job that a person names.

    Raises:
        DailiesError: No purchase of the clip is unknown or held, or the job is another clip's. Nothing was changed.
    """
    one = _post_to_settle(ledger, clip, job_id)
    with ledger.transaction(who=who, run_id=None) as tx:
        attempt = _unchanged(tx, one)
        model = next((c["model"] for c in one.candidates if c["job"] == job_id), None)
        job = NamedJob(job_id, model, "person")
        adopted = adopt(tx, attempt, one.submission_id, job, why=f"job {job_id}: {why}")
        if adopted is None:
            raise DailiesError(
                f"the job {job_id} belongs to another purchase already; nothing was changed. `dailies resolve {clip}` shows "
                "the jobs that may be this clip's."
            )
        return adopted


def buy_again(ledger: Ledger, clip: str, *, who: str, why: str, anyway: bool = False) -> list[Attempt]:
    """Close a clip's purchase as absent, because a person says that no job exists, and queue the clip within its decision.

    Args:
        who: The person.
        why: The person's reason, for the journal.
        anyway: Whether to settle an unknown purchase, whose job is still being searched for.

    Returns:
        The closed attempt, and the new one unless the decision or a cap forbids it.

    Raises:
        DailiesError: No purchase of the clip is unknown or held, or it is unknown and not to be settled `anyway`. Nothing was
            changed.
    """
    one = _post_to_settle(ledger, clip)
    with ledger.transaction(who=who, run_id=None) as tx:
        attempt = _held(tx, one, anyway=anyway)
        return close_absent(tx, attempt, one.submission_id, why=why, again=PERSONS_RESUBMISSIONS)


def write_off(ledger: Ledger, clip: str, *, who: str, why: str, anyway: bool = False) -> Attempt:
    """Write off a clip's purchase. Its money stays counted as possibly spent, and a new decision may buy the clip again.

    Arguments and errors are those of `buy_again`.
    """
    one = _post_to_settle(ledger, clip)
    with ledger.transaction(who=who, run_id=None) as tx:
        attempt = _held(tx, one, anyway=anyway)
        return tx.transition(
            attempt,
            AttemptState.ABANDONED,
            money=MoneyState.INDETERMINATE,
            why=why,
            reason=f"written off: {why}",
            finished_at=tx.now(),
        )


def _post_to_settle(ledger: Ledger, clip: str, job_id: str | None = None) -> Unsettled:
    """The clip's purchase that a person settles: if several takes are unsettled, the one with this job as a candidate, else the newest."""
    posts = unsettled(ledger, clip=clip)
    if not posts:
        raise DailiesError(
            f"no purchase of {clip} is unknown or held; nothing was changed. `dailies resolve` lists those that are."
        )
    named = [one for one in posts if any(candidate["job"] == job_id for candidate in one.candidates)]
    return (named or posts)[-1]


def _unchanged(tx: Transaction, one: Unsettled) -> Attempt:
    lock_subject(tx.connection, one.attempt.subject_key)
    attempt = tx.attempt(one.attempt.id)
    if attempt.version != one.attempt.version:
        raise DailiesError(
            f"{attempt.subject_key} is {attempt.state} now; nothing was changed. Look again with `dailies resolve`."
        )
    return attempt


def _held(tx: Transaction, one: Unsettled, *, anyway: bool) -> Attempt:
    """The held attempt. With `anyway`, an unknown attempt is held first."""
    attempt = _unchanged(tx, one)
    if attempt.state is AttemptState.HELD:
        return attempt
    if not anyway:
        raise DailiesError(
            f"the job of {attempt.subject_key} is still being searched for at {attempt.account}, and the clip is held if it is not found; "
            "nothing was changed. Until then you can name a job (--adopt JOB) or settle the clip although nothing is known yet."
        )
    why = "a person settles it while its job is still being searched for"
    return hold(tx, attempt, why, one.candidates)
