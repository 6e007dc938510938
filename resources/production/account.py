"""An account at a provider as an engine uses it, and what one step at it did."""

from dataclasses import dataclass, field

from resources.ledger.bills import Confirmed
from resources.ledger.limits import LEASE_MARGIN_SECONDS, Limits
from resources.ledger.lost.posts import Contract
from resources.ledger.lost.search_schedule import LONGEST_PAUSE_SECONDS
from resources.ledger.records import Attempt
from resources.ledger.stops import Stop
from resources.orders import ClipRequest
from resources.providers.base import Provider


@dataclass(frozen=True)
class Account:
    """An account at a provider, ready to be used.

    Attributes:
        provider: The client.
        limits: What the account allows across processes.
        submit_deadline_seconds: Hard total deadline of one POST.
        settle_seconds: How long after that a miss in the provider's listing starts to prove something, None for what the
            provider's contract says.
    """

    provider: Provider
    limits: Limits = field(default_factory=Limits)
    submit_deadline_seconds: float = 30.0
    settle_seconds: float | None = None

    @property
    def name(self) -> str:
        """The account's name in the ledger."""
        return self.provider.name

    @property
    def contract(self) -> Contract:
        """What its listing can prove."""
        offers = self.provider.capabilities
        if self.settle_seconds is not None:
            return Contract(offers.echoes_submission_id, self.settle_seconds)
        return Contract(offers.echoes_submission_id, offers.settle_seconds, offers.lists_running)

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
    """Ids of jobs at the provider that are new and that nobody here has ordered."""
    refused: str | None = None
    """Why the queue may not be sent: the ledger is older than its bucket, or the bucket cannot be asked."""
