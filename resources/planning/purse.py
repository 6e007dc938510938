"""The caps with planned purchases: a plan adds its purchases to the ledger's counters, one after another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resources.ledger import budget, counters
from resources.ledger.budget import Scope
from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.orders import ClipRequest


@dataclass(frozen=True)
class CapLine:
    """One cap, in micro-dollars."""

    scope: Scope
    """The scope that it caps."""
    cap: int
    """The limit."""
    spent: int
    """The sum that counts now."""
    floor: int
    """The sum if every first purchase succeeds."""
    ceiling: int
    """The highest sum; the ledger refuses a purchase that would exceed the cap."""


@dataclass(frozen=True)
class Order:
    """One purchase to plan."""

    request: ClipRequest
    """The request to buy."""
    decision: str
    """The decision that it belongs to."""
    day: str
    """The day for which it counts (YYYY-MM-DD)."""


class Purse:
    """The money that may still be spent.

    Args:
        orders: All purchases that may be counted, so that the ledger is read once.
    """

    def __init__(self, ledger: Ledger, orders: Sequence[Order]) -> None:
        self._budget = ledger.budget
        self._scopes: dict[tuple[str, ...], dict[Scope, int | None]] = {}
        ordered: dict[Scope, int] = {}
        for order in orders:
            ordered |= {scope: cap for scope, cap in self._capped_scopes(order).items() if cap is not None}
        self._caps = ordered
        self._spent: dict[Scope, int] = {}
        scopes = list(ordered)
        keys = {order.request.series: order.request.keys for order in orders}
        with ledger.read() as connection:
            for some in chunks(scopes):
                self._spent |= counters.spent(connection, some, keys)
        self._floor = dict(self._spent)
        self._ceiling = dict(self._spent)

    def _capped_scopes(self, order: Order) -> dict[Scope, int | None]:
        """The capped scopes an order counts in."""
        request = order.request
        key = (request.account_name, request.series, order.decision, order.day)
        if key not in self._scopes:
            every = budget.scopes(
                account=request.account_name, series=request.series, decision=order.decision, day=order.day
            )
            caps = {scope: self._budget.cap(scope, request.caps) for scope in every}
            self._scopes[key] = {scope: cap for scope, cap in caps.items() if cap is not None}
        return self._scopes[key]

    def give_back(self, attempt: Attempt) -> None:
        """Release the reservation of a replaced purchase."""
        for scope in counters.scopes_of(attempt):
            if scope in self._caps:
                self._floor[scope] -= attempt.cost_micros
                self._ceiling[scope] -= attempt.cost_micros

    def reserve(self, order: Order, price: int, ceiling: int) -> str | None:
        """Count a purchase as the ledger would; returns why the ledger would refuse it, or None.

        Args:
            price: The reservation, in micro-dollars.
            ceiling: The highest cost, in micro-dollars.
        """
        too_dear = self._budget.refusal(price)
        if too_dear is not None:
            return too_dear
        caps = self._capped_scopes(order)
        if not caps:
            return None
        refusal = budget.exceeded(caps, self._floor, price, self._budget.timezone)
        if refusal is None:
            for scope in caps:
                self._floor[scope] += price
                self._ceiling[scope] += ceiling
        return refusal

    def lines(self) -> Iterable[CapLine]:
        """Every cap that a purchase counted in."""
        for scope, cap in sorted(self._caps.items()):
            yield CapLine(scope, cap, self._spent[scope], self._floor[scope], self._ceiling[scope])
