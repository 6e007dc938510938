"""The caps as they would be spent: what the ledger counts, and on top of it one planned purchase after another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resources.ledger import budget
from resources.ledger.budget import Scope
from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.orders import ClipRequest


@dataclass(frozen=True)
class CapLine:
    """One cap, in micro-dollars."""

    scope: Scope
    """What it caps."""
    cap: int
    """The most that may count."""
    spent: int
    """What counts already."""
    floor: int
    """What would count when every first purchase succeeds."""
    ceiling: int
    """What could count at most; the ledger refuses what would exceed the cap."""


@dataclass(frozen=True)
class Order:
    """One purchase to plan."""

    request: ClipRequest
    """What is bought."""
    decision: str
    """What it belongs to."""
    day: str
    """The day it counts for (YYYY-MM-DD)."""


class Purse:
    """What may still be spent.

    Args:
        ledger: Its counters and the caps of everything and of the accounts.
        orders: Everything that may be reserved, so that the counters are read at once.
    """

    def __init__(self, ledger: Ledger, orders: Sequence[Order]) -> None:
        self._budget = ledger.budget
        self._scopes: dict[tuple[str, ...], dict[Scope, int | None]] = {}
        wanted: dict[Scope, int] = {}
        for order in orders:
            wanted |= {scope: cap for scope, cap in self._of(order).items() if cap is not None}
        self._caps = wanted
        self._spent: dict[Scope, int] = {}
        scopes = list(wanted)
        with ledger.read() as connection:
            for some in chunks(scopes):
                self._spent |= budget.spent(connection, some)
        self._floor = dict(self._spent)
        self._ceiling = dict(self._spent)

    def _of(self, order: Order) -> dict[Scope, int | None]:
        """The capped scopes an order counts in."""
        request = order.request
        key = (request.provider, request.series, order.decision, order.day)
        if key not in self._scopes:
            every = budget.scopes(
                account=request.provider, series=request.series, decision=order.decision, day=order.day
            )
            caps = {scope: self._budget.cap(scope, request.caps) for scope in every}
            self._scopes[key] = {scope: cap for scope, cap in caps.items() if cap is not None}
        return self._scopes[key]

    def give_back(self, attempt: Attempt) -> None:
        """Take a queued purchase out of the counters that gives way to another."""
        for scope in budget.scopes_of(attempt):
            if scope in self._caps:
                self._floor[scope] -= attempt.cost_micros
                self._ceiling[scope] -= attempt.cost_micros

    def reserve(self, order: Order, price: int, ceiling: int) -> str | None:
        """Count a purchase as the ledger would; why it refuses it, None when it does not.

        Args:
            order: What is bought.
            price: What is reserved for it, in micro-dollars.
            ceiling: What it could cost at most.
        """
        too_dear = self._budget.refusal(price)
        if too_dear is not None:
            return too_dear
        caps = self._of(order)
        if not caps:
            return None
        refusal = budget.exceeded(caps, self._floor, price, self._budget.timezone)
        if refusal is None:
            for scope in caps:
                self._floor[scope] += price
                self._ceiling[scope] += ceiling
        return refusal

    def lines(self) -> Iterable[CapLine]:
        """Every cap that was looked at."""
        for scope, cap in sorted(self._caps.items()):
            yield CapLine(scope, cap, self._spent[scope], self._floor[scope], self._ceiling[scope])
