"""The ledger knows its bucket and its accounts, so that no ledger buys for what it has no record of.

A ledger that was emptied, restored or made anew would find every clip missing and buy it again. The bucket therefore
holds the id of its ledger, and the ledger the address of its bucket; a mismatch is refused before any money moves.
"""

import ipaddress
import json
from urllib.parse import urlsplit

from resources.errors import ConfigurationError
from resources.ledger.ledger import Ledger
from resources.storage.layout import ledger_key
from resources.storage.objects import ObjectStore

BUCKET_FACT = "bucket"


def bind_bucket(ledger: Ledger, store: ObjectStore) -> None:
    """Make sure that this ledger and this bucket belong together; the first meeting binds them.

    Raises:
        ConfigurationError: The bucket has another ledger, or the ledger another bucket. Nothing was bought.
        resources.errors.UnavailableError: The bucket does not answer.
    """
    place = store.uri("").rstrip("/")
    kept = ledger.fact(BUCKET_FACT)
    if kept is not None and kept != place:
        raise ConfigurationError(
            f"this ledger belongs to the bucket {kept}, not to {place}; its clips would be bought again. Nothing was bought. "
            f"Set DAILIES_S3_BUCKET back, or give {place} a ledger of its own with DAILIES_HOME."
        )
    marker = store.get_bytes(ledger_key())
    if marker is None:
        if kept is not None:
            raise ConfigurationError(
                f"the bucket {place} no longer holds this ledger's mark ({ledger_key()}): was it emptied or replaced? "
                "Nothing was bought. Restore the bucket, or start a new ledger with DAILIES_HOME."
            )
        store.put_bytes(
            ledger_key(), json.dumps({"ledger": ledger.id}).encode(), content_type="application/json"
        )
        ledger.remember(BUCKET_FACT, place)
        return
    owner = _owner(marker)
    if owner != ledger.id:
        raise ConfigurationError(
            f"the bucket {place} belongs to another ledger ({owner}, this one is {ledger.id}); its clips would be bought "
            "again. Nothing was bought. Use that ledger (DAILIES_HOME or DAILIES_LEDGER_URL), or another bucket."
        )
    if kept is None:
        ledger.remember(BUCKET_FACT, place)


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
            f"this ledger has bought from {name} at {kept}, and {name} is now set to {place}. Nothing was bought. "
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


def _owner(marker: bytes) -> str:
    try:
        return str(json.loads(marker)["ledger"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"
