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
CLOCKS_SECONDS = 5.0
"""How much longer the next POST waits than that, since a provider's clock is known to two seconds and a round trip: a job
that is created with it must lie in the time of one POST only."""
FRESH_SECONDS = 5.0
"""POSTs take about a second; one that takes longer does not keep others of an untraceable endpoint waiting."""
POSTING_SECONDS = 20.0
"""While an outcome is unknown, a POST keeps others of its endpoint waiting for so long, since its poster may be dead."""

_OTHER = attempts.alias("other")
"""Made once: an alias has a column for each of the table's."""


def times(now: float) -> dict[str, float]:
    """The parameters that `must_wait` leaves open.

    Args:
        now: Seconds since the epoch.
    """
    return {
        "posting_since": now - POSTING_SECONDS,
        "fresh_since": now - FRESH_SECONDS,
        "accepted_since": now - ACCEPTANCE_SECONDS - CLOCKS_SECONDS,
    }


def must_wait(*, traceable: bool) -> sa.ColumnElement[bool]:
    """Whether a row of `attempts` must not be sent yet because of other POSTs of its endpoint, given `times`.

    Args:
        traceable: Whether the provider's listing names our submission ids.
    """
    slow = sa.and_(_other_is(AttemptState.UNKNOWN), _posting("posting_since"))
    if traceable:
        return slow
    return sa.or_(slow, _posting("fresh_since"), _may_create_a_job())


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


def _posting(since: str) -> sa.ColumnElement[bool]:
    began = submissions.c.started_at > sa.bindparam(since)
    return _submission(SubmissionState.OPEN, AttemptState.SUBMITTING, began)


def _may_create_a_job() -> sa.ColumnElement[bool]:
    since: sa.BindParameter[float] = sa.bindparam("accepted_since", type_=sa.Double)
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
