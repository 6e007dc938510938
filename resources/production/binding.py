"""The ledger knows its bucket and its accounts, so that no ledger buys for what it has no record of.

A ledger that was emptied, restored or made anew would find clips missing and buy them again. The bucket therefore holds
the id of its ledger and how far it was, and the ledger the address of its bucket; a mismatch is refused before any money
moves.
"""

import ipaddress
from urllib.parse import urlsplit

from resources.errors import ConfigurationError
from resources.ledger.ledger import Ledger
from resources.production.marking import BucketMark
from resources.storage.objects import ObjectStore


def bind_bucket(ledger: Ledger, store: ObjectStore, *, buying: bool = True) -> None:
    """Make sure that this ledger and this bucket belong together; the first meeting binds them.

    Args:
        ledger: The record.
        store: The bucket.
        buying: Whether something is to be bought, which a ledger may not do that is older than its bucket.

    Raises:
        LedgerBehindError: The ledger is older than its bucket, and something is to be bought. Nothing was.
        ConfigurationError: The bucket has another ledger, or the ledger another bucket. Nothing was bought.
        resources.errors.UnavailableError: The bucket does not answer.
    """
    BucketMark(ledger, store).bind(buying=buying)


def bind_account(ledger: Ledger, name: str, base_url: str) -> None:
    """Make sure that an account is the one this ledger has bought from; the first use binds them.

    What was bought at the sandbox is no video, and must not pass for one when the real provider is set.

    Raises:
        ConfigurationError: The ledger knows the account at another address. Nothing was bought.
    """
    place = _place(base_url)
    kept = ledger.fact(f"account {name}") or ledger.remember(f"account {name}", place)
    if kept != place:
        raise ConfigurationError(
            f"this ledger has bought from {name} at {kept}, and {name} is now set to {place}, where it buys nothing. "
            "Give it a ledger of its own with DAILIES_HOME, e.g. DAILIES_HOME=.dailies/live."
        )


def _place(base_url: str) -> str:
    """An address as it is remembered: its host, and the sandbox whatever port it has today."""
    host = urlsplit(base_url).hostname or base_url
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "this machine (a sandbox)" if local else host
