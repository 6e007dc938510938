"""A provider's job, as its books record it and the laws read it. This module imports nothing of dailies."""

from dataclasses import dataclass
from typing import Literal

End = Literal["succeeded", "failed", "moderated", "empty", "vanished"]


@dataclass(frozen=True)
class JobRecord:
    """A job in the provider's books. Times are seconds of true time, money is micro-USD."""

    id: str
    provider: str
    model: str
    clip: str | None
    """The clip that it was ordered for; None for a stranger's job."""
    tag: str | None
    """Our id of the POST that made it."""
    price: int
    at: float
    ends_at: float
    end: End
    listed_at: float = 0.0
    """When lists and bills begin to show it."""
    refund_at: float | None = None
    """When the price of a failed job is given back; None if a failed job is never charged."""
    lists_running: bool = True
    """Whether lists show it before its end."""
    named: str | None = None
    """The id of its POST as the provider shows it; None if it shows none."""
    shown: str | None = None
    """The request as the provider's listing shows it; None if it shows none."""
    may_be_charged: bool = False
    """Whether no answer states that its failure is free, so that a client counts its price."""
    seen_over: bool = False
    """Whether the provider showed another end, often and long enough to be accepted, and took it back."""
    good: bool = True
    """Whether its file matches the order."""
    file: str = ""
    """The address of its file."""

    @property
    def ours(self) -> bool:
        """Whether one of our POSTs made it."""
        return self.clip is not None

    @property
    def cost(self) -> int:
        """Its final cost."""
        return self.price if self.end in {"succeeded", "vanished", "empty"} else 0

    @property
    def failed_in_passing(self) -> bool:
        """Whether the decision that bought it may buy again."""
        return self.end in {"failed", "empty"} or self.seen_over

    def ended(self, now: float) -> End | None:
        """Its end, None while it runs."""
        return self.end if self.ends_at <= now else None

    def charged(self, now: float) -> int:
        """Its cost by now, less refunds."""
        if self.refund_at is None:
            return self.cost if self.ends_at <= now else 0
        return self.cost if self.refund_at <= now else self.price
