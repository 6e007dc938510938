"""Named leases: only one process at a time does some work outside the database, such as adding partitions."""

import contextlib
import secrets
import time
from collections.abc import Iterator

import sqlalchemy as sa

from resources.errors import UnavailableError
from resources.ledger.ledger import Ledger
from resources.ledger.schema import locks
from resources.ledger.times import is_past


@contextlib.contextmanager
def hold(ledger: Ledger, name: str, *, seconds: float = 60, wait: float = 30) -> Iterator[None]:
    """Hold a lease while the caller works.

    Args:
        name: The name of the work; every caller passes the same `seconds` with it.
        seconds: How long the lease lasts if its holder dies.
        wait: How many seconds to wait for another holder.

    Raises:
        UnavailableError: Another process holds the lease for longer than `wait`.
    """
    owner, give_up = secrets.token_hex(16), time.monotonic() + wait
    while not _take(ledger, name, owner, seconds):
        if time.monotonic() > give_up:
            raise UnavailableError(
                f"another process holds the lock {name!r}. If that process was killed, the lock ends {seconds:.0f} s after it began. Try again then"
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        with ledger.write() as connection:
            connection.execute(sa.delete(locks).where(locks.c.name == name, locks.c.owner == owner))


def _take(ledger: Ledger, name: str, owner: str, seconds: float) -> bool:
    try:
        with ledger.write() as connection:
            now = ledger.clock()
            over = is_past(locks.c.until, now, within=seconds)
            connection.execute(sa.delete(locks).where(locks.c.name == name, over))
            connection.execute(sa.insert(locks).values(name=name, owner=owner, until=now + seconds))
    except sa.exc.IntegrityError:
        return False
    return True
