"""What a lost job may have cost: on a key that others may use, a job of another price is somebody else's."""

from collections.abc import Sequence

import sqlalchemy as sa

from resources.ledger.bills import BILL
from resources.ledger.database import chunks
from resources.ledger.disputes import is_believable
from resources.ledger.lost.evidence import Prices
from resources.ledger.lost.posts import Undecided
from resources.ledger.schema import attempts, jobs
from resources.providers.base import Charge
from resources.providers.listing import charged_jobs

LEARNED_FOR_SECONDS = 7 * 86_400.0
"""How long what a job was charged says what others are: discounts come and go."""

_OURS = attempts.join(jobs, sa.and_(jobs.c.account == attempts.c.account, jobs.c.job_id == attempts.c.job_id))
_SURELY_OURS = sa.and_(
    attempts.c.account == sa.bindparam("account"),
    attempts.c.endpoint.in_(sa.bindparam("endpoints", expanding=True)),
    attempts.c.quoted_micros > 0,
    # one that was told from others by its price must not teach what ours cost
    jobs.c.source.in_(["answer", "webhook"]),
)
_LEARNED = (
    sa.select(attempts.c.endpoint, attempts.c.quoted_micros, attempts.c.charged_micros)
    .select_from(_OURS)
    .where(
        _SURELY_OURS,
        attempts.c.charge_source == BILL,
        attempts.c.charged_micros.is_not(None),
        attempts.c.finished_at > sa.bindparam("after"),
    )
    .distinct()
)
_SHOWN = (
    sa.select(attempts.c.endpoint, attempts.c.quoted_micros, attempts.c.job_id)
    .select_from(_OURS)
    .where(_SURELY_OURS, attempts.c.job_id.in_(sa.bindparam("ids", expanding=True)))
)


def prices(
    connection: sa.Connection,
    account: str,
    undecided: Sequence[Undecided],
    bill: Sequence[Charge],
    *,
    now: float,
) -> dict[str, Prices]:
    """By POST, what its job may cost: by the quote, and by the discounts that jobs of ours are charged with.

    Args:
        connection: A view of the ledger.
        account: Whose POSTs.
        undecided: The POSTs.
        bill: What was read now.
        now: Seconds since the epoch.
    """
    ours = {"account": account, "endpoints": sorted({u.attempt.endpoint for u in undecided})}
    shares: dict[str, set[float]] = {endpoint: set() for endpoint in ours["endpoints"]}
    learned = connection.execute(_LEARNED, {**ours, "after": now - LEARNED_FOR_SECONDS})
    for endpoint, quoted, micros in learned:
        shares[endpoint].add(micros / quoted)
    charged = {job.job_id: job.charged_micros or 0 for job in charged_jobs(bill)}
    for ids in chunks(sorted(charged)):
        for endpoint, quoted, job_id in connection.execute(_SHOWN, {**ours, "ids": ids}):
            if is_believable(quoted, charged[job_id]):
                shares[endpoint].add(charged[job_id] / quoted)
    return {
        one.submission_id: Prices(one.attempt.quoted_micros, frozenset(shares[one.attempt.endpoint]))
        for one in undecided
    }
