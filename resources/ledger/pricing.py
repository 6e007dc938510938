"""What a lost job may have cost: on a key that others may use, a job of another price is somebody else's."""

from collections.abc import Sequence

import sqlalchemy as sa

from resources.ledger.billing import BILL
from resources.ledger.database import chunks
from resources.ledger.evidence import Prices
from resources.ledger.schema import attempts
from resources.ledger.undecided import Undecided
from resources.providers.base import Charge
from resources.providers.listing import charged_jobs


def prices(
    connection: sa.Connection, account: str, undecided: Sequence[Undecided], bill: Sequence[Charge]
) -> dict[str, Prices]:
    """By POST, what its job may cost: as the ledger has learned from bills, and as this one charges jobs of ours.

    Args:
        connection: A view of the ledger.
        account: Whose POSTs.
        undecided: The POSTs.
        bill: What was read now.
    """
    charged: dict[tuple[str, int], set[int]] = {}
    endpoints = sorted({u.attempt.endpoint for u in undecided})
    learned = sa.select(attempts.c.endpoint, attempts.c.quoted_micros, attempts.c.charged_micros).where(
        attempts.c.account == account,
        attempts.c.endpoint.in_(endpoints),
        attempts.c.charge_source == BILL,
        attempts.c.charged_micros.is_not(None),
    )
    for endpoint, quoted, micros in connection.execute(learned.distinct()):
        charged.setdefault((endpoint, quoted), set()).add(micros)
    shown = {job.job_id: job.charged_micros or 0 for job in charged_jobs(bill)}
    for ids in chunks(sorted(shown)):
        ours = sa.select(attempts.c.job_id, attempts.c.endpoint, attempts.c.quoted_micros).where(
            attempts.c.account == account, attempts.c.job_id.in_(ids)
        )
        for job_id, endpoint, quoted in connection.execute(ours):
            charged.setdefault((endpoint, quoted), set()).add(shown[job_id])
    found = {}
    for one in undecided:
        quoted = one.attempt.quoted_micros
        # a charge above the quote stops the account; a stranger's is never learned from
        seen = charged.get((one.attempt.endpoint, quoted), set())
        found[one.submission_id] = Prices(quoted, frozenset(micros for micros in seen if micros <= quoted))
    return found
