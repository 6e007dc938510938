"""The price of a draft's finish, by the rules that would buy it. Nothing is reserved."""

import uuid
from dataclasses import dataclass

from resources.ledger import finishes, rules, stops
from resources.ledger.finishes import Limits, as_stored
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.stops import ALL
from resources.money import show_usd
from resources.orders import ClipRequest
from resources.planning.purse import CapLine, Order, Purse


@dataclass(frozen=True)
class FinishOffer:
    """The finish of a draft, with its price in micro-dollars."""

    draft: Attempt
    decision: str
    """The decision that would buy it; see `resources.ledger.finishes.order_finish`."""
    request: ClipRequest | None
    """The request that would be bought; None if the draft cannot be finished."""
    caps: tuple[CapLine, ...] = ()
    """Every cap that the finish counts in."""
    refusal: str | None = None
    """Why it cannot be bought at all; None if it can."""
    waits: str | None = None
    """Why an order would wait now, e.g. for a cap; None if it would not."""

    @property
    def floor(self) -> int:
        """The cost if the first purchase succeeds."""
        return (self.request.price_micros or 0) if self.request is not None else 0

    @property
    def ceiling(self) -> int:
        """The highest cost, with every try and fallback of its series."""
        return self.request.ceiling_micros if self.request is not None else 0

    @property
    def way(self) -> str:
        """How it is finished, in a few words."""
        order = self.draft.request.finish
        return "" if order is None else order.way

    @property
    def price(self) -> str:
        """The price for a person."""
        if self.ceiling == self.floor:
            return show_usd(self.floor)
        return f"{show_usd(self.floor)}, with every try and fallback up to {show_usd(self.ceiling)}"


def offer_finish(ledger: Ledger, draft: Attempt, limits: Limits = as_stored) -> FinishOffer:
    """Plan the finish of a draft.

    Raises:
        resources.errors.UnavailableError: The ledger does not answer.
    """
    with ledger.read() as connection:
        decision = finishes.next_decision(connection, draft.id)
        request = finishes.finish_request(connection, draft, limits)
    if isinstance(request, str):
        return FinishOffer(draft, decision, None, refusal=request)
    price = request.price_micros
    if price is None:
        return FinishOffer(draft, decision, request, refusal=rules.unknown_price(request, asked=False))
    stop = next((s for s in stops.stops(ledger) if s.account in {ALL, request.account_name}), None)
    order = Order(request, f"{finishes.PREFIX}{uuid.uuid4().hex}", ledger.budget.day(ledger.clock()))
    purse = Purse(ledger, [order])
    waits = purse.reserve(order, price, request.ceiling_micros)
    if stop is not None and not stop.kind.reopens:
        waits = str(stop)
    return FinishOffer(draft, decision, request, tuple(purse.lines()), waits=waits)
