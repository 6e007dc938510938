"""An account at a provider: its client and limits, its binding to the ledger, and the result of one step."""

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
from resources.storage.download_policy import OutputKey

logger = logging.getLogger("dailies")


@dataclass(frozen=True)
class Account:
    """An account at a provider, ready to be used."""

    provider: Provider
    """The client."""
    limits: Limits = field(default_factory=Limits)
    """The account's limits across processes."""
    submit_deadline_seconds: float = 30.0
    """Hard total deadline of one POST."""
    settle_seconds: float | None = None
    """The longest time that the provider takes to list a job, in seconds; None for the settle time of its contract."""
    output_key: OutputKey | None = None
    """The key for outputs on the provider's own hosts; None if they need none."""

    @property
    def name(self) -> str:
        """The account's name in the ledger."""
        return self.provider.name

    @property
    def contract(self) -> Contract:
        """The facts that decide what its listing can prove."""
        offers = self.provider.capabilities
        # how long a waiting or running job may be missing from the listing depends on the provider, not on the account's settle time
        return Contract(
            offers.echoes_submission_id,
            self.settle_seconds or offers.settle_seconds,
            offers.lists_running,
            offers.start_seconds,
        )

    def patience(self, request: ClipRequest) -> float:
        """Seconds after which a submit with a lost answer is settled or held, if the listing can be read."""
        unheard = self.submit_deadline_seconds + LEASE_MARGIN_SECONDS
        return unheard + 2 * self.contract.settle(request) + 2 * LONGEST_PAUSE_SECONDS


@dataclass
class StepResult:
    """The result of a step, for the sensor's tick message."""

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
    """Why the queue may not be sent: the ledger is older than its bucket, or the bucket does not answer."""


def contract_in_force(ledger: Ledger, account: Account) -> Contract:
    """The account's contract with the settle time of the policy in force, which may differ from this host's setting."""
    seconds = policy_history.in_force(ledger).settle_seconds(account.name, account.settle_seconds)
    return replace(account, settle_seconds=seconds).contract


def bind_account(ledger: Ledger, account: AccountSettings) -> None:
    """Check that this ledger has bought from this account before; the first use binds them.

    A purchase at the sandbox must not count once the real provider is set. The ledger also records whether this host's settings call
    the account's key dedicated.

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
            f"begin at zero, and its jobs would not be polled. Nothing was bought. Name it {former} again, or give {name} its own key."
        )
    if key is not None and keys.see_key(ledger, name, key):
        _warn_once(
            f"{name} is used with another key than before. A POST of the earlier key whose answer was lost is held, since the "
            "listing may not show its job, and statements about the earlier key (`dailies key`) do not hold for this one"
        )
    use = keys.declare(ledger, name, dedicated=account.dedicated)
    if use.disagrees_with(account.dedicated):
        _warn_once(keys.disagreement(name, use))


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning once in each process, because accounts are bound at every step of a sensor."""
    logger.warning("%s", text)


def _place(base_url: str) -> str:
    """The ledger's text for an address: its host, or "this machine" for a sandbox, whose port changes."""
    host = urlsplit(base_url).hostname or base_url
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "this machine (a sandbox)" if local else host
