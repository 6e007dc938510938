"""The ledger knows its bucket and its accounts, so that no ledger buys for what it has no record of.

A ledger that was emptied, restored or made anew would find clips missing and buy them again. The bucket therefore holds
the id of its ledger and how far it was, and the ledger the address of its bucket; a mismatch is refused before any money
moves. So is a bucket that could not take what is bought.
"""

import functools
import ipaddress
import logging
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import ConfigurationError
from resources.ledger import keys
from resources.ledger.ledger import Ledger
from resources.ledger.recovery.mark import replace_fact
from resources.production.bucket_mark import PATIENCE_SECONDS, BucketMark
from resources.providers.accounts import AccountSettings
from resources.storage.objects import ObjectStore
from resources.storage.trial import try_bucket
from resources.storage.ways import Ways

logger = logging.getLogger("dailies")

TRIAL_FACT = "bucket trial"
TRIAL_SECONDS = 86_400.0
"""How long a trial of the bucket is believed."""


def bind_bucket(ledger: Ledger, store: ObjectStore, *, buying: bool = True) -> None:
    """Make sure that this ledger and this bucket belong together; the first meeting binds them.

    Before the first purchase, and then once a day, the bucket is tried with what a delivery will ask of it.

    Args:
        buying: Whether something is to be bought, which a ledger may not do that is older than its bucket.

    Raises:
        LedgerBehindError: The ledger is older than its bucket, and something is to be bought. Nothing was.
        ConfigurationError: The bucket has another ledger, or the ledger another bucket, or the bucket cannot take a clip.
            Nothing was bought.
        resources.errors.UnavailableError: The bucket does not answer.
    """
    trial = _Trial.of(ledger)
    known = trial is not None and trial.endpoint == store.settings.endpoint_url
    if trial is not None and known:
        store.learn(trial.ways)
    BucketMark(ledger, store).bind(buying=buying)
    # a time that lies ahead is as old as one that is over: the clock was set
    if buying and not (trial is not None and known and abs(ledger.clock() - trial.at) < TRIAL_SECONDS):
        patience = min(PATIENCE_SECONDS, store.settings.ride_out_seconds)
        tried = ObjectStore(store.settings.model_copy(update={"ride_out_seconds": patience}))
        _Trial(endpoint=store.settings.endpoint_url, at=ledger.clock(), ways=try_bucket(tried)).keep(ledger)


class _Trial(BaseModel):
    """What the last trial of the ledger's bucket has shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    endpoint: str | None
    at: float
    """Seconds since the epoch."""
    ways: Ways

    @classmethod
    def of(cls, ledger: Ledger) -> "_Trial | None":
        """As the ledger keeps it, None where there was none that can be read."""
        try:
            return cls.model_validate_json(ledger.fact(TRIAL_FACT) or "")
        except ValidationError:
            return None

    def keep(self, ledger: Ledger) -> None:
        """Keep it in place of the one before."""
        replace_fact(ledger, TRIAL_FACT, self.model_dump_json())


def bind_account(ledger: Ledger, account: AccountSettings) -> None:
    """Make sure that an account is the one this ledger has bought from; the first use binds them.

    What was bought at the sandbox is no video, and must not pass for one when the real provider is set. What this host's settings
    say of the account's key is taken into the ledger.

    Raises:
        ConfigurationError: The ledger knows the account at another address. Nothing was bought.
    """
    name, place = account.name, _place(account.base_url)
    kept = ledger.fact(f"account {name}") or ledger.remember(f"account {name}", place)
    if kept != place:
        raise ConfigurationError(
            f"this ledger has bought from {name} at {kept}, and {name} is now set to {place}, where it buys nothing. "
            "Give it a ledger of its own with DAILIES_HOME, e.g. DAILIES_HOME=.dailies/live."
        )
    key = keys.declare(ledger, name, account.dedicated)
    if key.disagrees_with(account.dedicated):
        _warn_once(keys.disagreement(name, key))


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning, once for each process: accounts are bound at every step of a sensor."""
    logger.warning("%s", text)


def _place(base_url: str) -> str:
    """An address as it is remembered: its host, and the sandbox whatever port it has today."""
    host = urlsplit(base_url).hostname or base_url
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "this machine (a sandbox)" if local else host
