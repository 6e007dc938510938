"""An account at a provider as an engine uses it, its binding to the ledger, and the result of one step at it."""

import functools
import ipaddress
import logging
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from resources.errors import ConfigurationError
from resources.ledger import keys, policy_history
from resources.ledger.bills import Confirmed
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LEASE_MARGIN_SECONDS, Limits
from resources.ledger.lost.posts import Contract
from resources.ledger.lost.search_schedule import LONGEST_PAUSE_SECONDS
from resources.ledger.records import Attempt
from resources.ledger.stops import Stop
from resources.orders import ClipRequest
from resources.providers.accounts import AccountSettings
from resources.providers.provider import Provider
from resources.storage.policy import OutputKey

logger = logging.getLogger("dailies")


@dataclass(frozen=True)
class Account:
    """An account at a provider, ready to be used."""

    provider: Provider
    """The client."""
    limits: Limits = field(default_factory=Limits)
    """What the account allows across processes."""
    submit_deadline_seconds: float = 30.0
    """Hard total deadline of one POST."""
    settle_seconds: float | None = None
    """How long the provider takes at most to list a job that it may list, None for what its contract says."""
    output_key: OutputKey | None = None
    """The key that the provider's own hosts may want for outputs, None where they want none."""

    @property
    def name(self) -> str:
        """The account's name in the ledger."""
        return self.provider.name

    @property
    def contract(self) -> Contract:
        """What its listing can prove."""
        offers = self.provider.capabilities
        # what the listing leaves out while a job waits or runs is the provider's, whatever settle time the account has
        return Contract(
            offers.echoes_submission_id,
            self.settle_seconds or offers.settle_seconds,
            offers.lists_running,
            offers.start_seconds,
        )

    def patience(self, request: ClipRequest) -> float:
        """Seconds after which a submit with a lost answer has been settled or held, while the listing can be read."""
        unheard = self.submit_deadline_seconds + LEASE_MARGIN_SECONDS
        return unheard + 2 * self.contract.settle(request) + 2 * LONGEST_PAUSE_SECONDS


@dataclass
class StepResult:
    """What a step did, for the sensor's tick message."""

    submitted: list[Attempt] = field(default_factory=list)
    reconciled: list[Attempt] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)
    confirmed: list[Confirmed] = field(default_factory=list)
    stop: Stop | None = None
    polled: int = 0
    queued: int = 0
    orphans: list[str] = field(default_factory=list)
    """Ids of new jobs at the provider that this ledger has not ordered."""
    refused: str | None = None
    """Why the queue may not be sent: the ledger is older than its bucket, or the bucket cannot be asked."""


def contract_in_force(ledger: Ledger, account: Account) -> Contract:
    """What an account's listing can prove by the policy in force, whatever settle time this host was started with."""
    seconds = policy_history.in_force(ledger).settle_seconds(account.name, account.settle_seconds)
    return replace(account, settle_seconds=seconds).contract


def bind_account(ledger: Ledger, account: AccountSettings) -> None:
    """Check that an account is the one from which this ledger has bought; the first use binds them.

    A purchase at the sandbox is no video, and must not count as one once the real provider is set. The ledger also learns what this
    host's settings say about the account's key.

    Raises:
        ConfigurationError: The ledger knows the account at another address, or the key under another name. Nothing was bought.
    """
    account.check_usable()
    name, place = account.name, _place(account.base_url)
    kept = ledger.fact(f"account {name}") or ledger.remember(f"account {name}", place)
    if kept != place:
        raise ConfigurationError(
            f"this ledger has bought from {name} at {kept}, and {name} is now set to {place}, where it buys nothing. "
            "Give it a ledger of its own with DAILIES_HOME, e.g. DAILIES_HOME=.dailies/live."
        )
    key = None if account.api_key is None else account.api_key.get_secret_value()
    if key is not None and (former := keys.former_account(ledger, name, account.provider, key)) is not None:
        raise ConfigurationError(
            f"the key of the account {name} is the one with which this ledger has bought as {former}. Under another name its caps would "
            f"begin at zero, and nobody would ask for its jobs. Nothing was bought. Name it {former} again, or give {name} a key of its own."
        )
    if key is not None and keys.see_key(ledger, name, key):
        _warn_once(
            f"{name} is used with another key than before. A POST of the earlier key whose answer was lost is held, since the "
            "listing may not show its job, and what was said of the earlier key (`dailies key`) does not hold for this one"
        )
    use = keys.declare(ledger, name, account.dedicated)
    if use.disagrees_with(account.dedicated):
        _warn_once(keys.disagreement(name, use))


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning, once for each process: accounts are bound at every step of a sensor."""
    logger.warning("%s", text)


def _place(base_url: str) -> str:
    """An address as the ledger keeps it: its host, or for a sandbox this machine, since its port changes."""
    host = urlsplit(base_url).hostname or base_url
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "this machine (a sandbox)" if local else host
