"""Keeping POSTs of one endpoint apart, so that one lost answer does not become two and its job can be told from others.

A provider that echoes our submission id names the POST of every job; its POSTs only slow down while an outcome is
unknown. One that does not (WaveSpeed) leaves time and model to tell jobs by: POSTs of one endpoint go one after the
other, and wait while the job of a lost one may still be created, which its listing ends within seconds.
"""

import sqlalchemy as sa

from resources.ledger.schema import attempts, submissions
from resources.ledger.states import AttemptState, SubmissionState

ACCEPTANCE_SECONDS = 30.0
"""How long after a POST broke off the provider is believed to create its job at the latest."""
FRESH_SECONDS = 5.0
"""POSTs take about a second; one that takes longer does not keep others of an untraceable endpoint waiting."""
POSTING_SECONDS = 20.0
"""While an outcome is unknown, a POST keeps others of its endpoint waiting for so long, since its poster may be dead."""

_OTHER = attempts.alias("other")
"""Made once: an alias has a column for each of the table's, and a queue is looked at all the time."""


def must_wait(now: float, *, traceable: bool) -> sa.ColumnElement[bool]:
    """Whether a row of `attempts` must not be sent yet because of other POSTs of its endpoint.

    Args:
        now: Seconds since the epoch.
        traceable: Whether the provider's listing names our submission ids.
    """
    slow = sa.and_(_other_is(AttemptState.UNKNOWN), _posting(now - POSTING_SECONDS))
    if traceable:
        return slow
    return sa.or_(slow, _posting(now - FRESH_SECONDS), _may_create_a_job(now))


def posting(connection: sa.Connection, account: str, now: float) -> bool:
    """Whether a POST of an account is on its way."""
    query = sa.exists().where(
        submissions.c.account == account,
        submissions.c.state == SubmissionState.OPEN.value,
        submissions.c.lease_until > now,
    )
    return bool(connection.execute(sa.select(query)).scalar())


def _other_is(state: AttemptState) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        _OTHER.c.account == attempts.c.account,
        _OTHER.c.endpoint == attempts.c.endpoint,
        _OTHER.c.state == state.value,
    )


def _posting(since: float) -> sa.ColumnElement[bool]:
    return _submission(SubmissionState.OPEN, AttemptState.SUBMITTING, submissions.c.started_at > since)


def _may_create_a_job(now: float) -> sa.ColumnElement[bool]:
    since = now - ACCEPTANCE_SECONDS
    return _submission(
        SubmissionState.UNKNOWN,
        AttemptState.UNKNOWN,
        submissions.c.ended_at > since,
        submissions.c.lease_until > since,
    )


def _submission(
    state: SubmissionState, attempt_state: AttemptState, *where: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    return (
        sa.select(submissions.c.id)
        .join(_OTHER, _OTHER.c.id == submissions.c.attempt_id)
        .where(
            submissions.c.account == attempts.c.account,
            submissions.c.state == state.value,
            _OTHER.c.endpoint == attempts.c.endpoint,
            _OTHER.c.state == attempt_state.value,
            *where,
        )
        .correlate(attempts)
        .exists()
    )
