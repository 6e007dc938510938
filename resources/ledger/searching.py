"""Who looks for lost jobs in an account's listing, and when: one at a time, soon after a loss, then more and more rarely."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import lags
from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import listings
from resources.ledger.states import AttemptState
from resources.ledger.undecided import Contract, Undecided, find_undecided

CLAIM_SECONDS = 30
"""How long a listing is its reader's. Two who read a long one side by side harm nobody: attempts have versions."""
FIRST_READS_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
HELD_PAUSE_SECONDS = 600.0
HELD_FOR_SECONDS = 7 * 86_400.0
"""How long a held POST is still looked for where the provider echoes its id."""
MEASURE_SECONDS = 10.0

_LISTING = sa.select(listings).where(listings.c.account == sa.bindparam("account"))


@dataclass(frozen=True)
class Search:
    """A listing that was claimed and is to be read now.

    Attributes:
        since: The start of the oldest POST it is read for, by our clock.
        bill: Whether the bill must be read too, since a miss may be proved now.
        prices: Whether it is to be read if it can be, to tell our jobs from those of others.
    """

    since: float
    bill: bool
    prices: bool = False


def claim(ledger: Ledger, account: str, contract: Contract) -> Search | None:
    """Take the reading of an account's listing, if there is a reason to read it now and nobody else does.

    Reasons, most pressing first: a POST whose outcome is unknown, lags that are still to be measured, a held POST whose
    id the listing may show late.
    """
    with ledger.read() as connection:
        search = _wanted(ledger, connection, account, contract)
    if search is None:
        return None
    now = ledger.clock()
    with ledger.write() as connection:
        connection.execute(insert_ignoring(connection, listings).values(account=account))
        taken = connection.execute(
            sa.update(listings)
            .where(listings.c.account == account, listings.c.claimed_until <= now)
            .values(claimed_until=now + CLAIM_SECONDS, looked_at=now)
        )
    return search if taken.rowcount == 1 else None


def release(ledger: Ledger, account: str, *, again_in: float) -> None:
    """Give a listing back that could not be read; nothing is proved."""
    reschedule(ledger, account, ledger.clock() + again_in)


def _wanted(ledger: Ledger, connection: sa.Connection, account: str, contract: Contract) -> Search | None:
    now = ledger.clock()
    row = connection.execute(_LISTING, {"account": account}).first()
    if row is not None and row.claimed_until > now:
        return None
    looked_at = -math.inf if row is None or row.looked_at is None else row.looked_at
    undecided = find_undecided(connection, account)
    unknown = [u for u in undecided if u.attempt.state is AttemptState.UNKNOWN]
    if unknown:
        # one that was lost since the last look is looked for at once
        due = row is None or now >= row.next_at or any((u.ended_at or 0) >= looked_at for u in unknown)
        bill = any(now >= u.deadline_at + contract.settle(u.attempt.request) for u in unknown)
        return Search(min(u.started_at for u in unknown), bill, contract.asks_prices) if due else None
    since = None
    if now >= looked_at + MEASURE_SECONDS:
        since = lags.unmeasured_since(connection, account, now)
    if since is None and contract.echoes and now >= looked_at + HELD_PAUSE_SECONDS:
        held = [u.started_at for u in undecided if u.attempt.state is AttemptState.HELD]
        since = min((at for at in held if at > now - HELD_FOR_SECONDS), default=None)
    return None if since is None else Search(since, bill=False)


def last_read_at(connection: sa.Connection, account: str) -> float | None:
    """When the listing was last read to its end, by the provider's clock, which all readers have in common."""
    return connection.execute(sa.select(listings.c.read_at).where(listings.c.account == account)).scalar()


def pause(ledger: Ledger, unknown: Sequence[Undecided]) -> float:
    """Seconds until the listing is worth another look: soon after a loss, then more and more rarely."""
    youngest = ledger.clock() - max((u.broke_off for u in unknown), default=0.0)
    return min(max(FIRST_READS_SECONDS, 0.3 * youngest), LONGEST_PAUSE_SECONDS)


def reschedule(ledger: Ledger, account: str, at: float, *, read_at: float | None = None) -> None:
    """Give a listing back, and say when it is worth another look.

    Args:
        ledger: The record.
        account: Whose listing.
        at: Seconds since the epoch.
        read_at: When the reading began that reached its end, by the provider's clock; None where none did.
    """
    values: dict[str, float] = {"claimed_until": 0.0, "next_at": at}
    if read_at is not None:
        values["read_at"] = read_at
    with ledger.write() as connection:
        connection.execute(sa.update(listings).where(listings.c.account == account).values(**values))
