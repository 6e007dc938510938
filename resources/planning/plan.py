"""The plan: what a decision would do with each clip, by the same rules (`resources.ledger.rules`).

A plan changes and reserves nothing, so another process may buy between the plan and the decision.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from resources.errors import DailiesError
from resources.ledger import rules, stops
from resources.ledger.approvals import Approval
from resources.ledger.decisions import KnownPurchases, known_purchases
from resources.ledger.ledger import Ledger
from resources.ledger.pauses import pauses
from resources.ledger.records import Attempt
from resources.ledger.rules import Ruling
from resources.ledger.states import AttemptState
from resources.ledger.stops import ALL, Stop
from resources.money import show_usd
from resources.orders import ClipRequest
from resources.planning.draft_ways import DraftWay, draft_ways
from resources.planning.due import DueClip
from resources.planning.purse import CapLine, Order, Purse
from resources.series import Declarations

IN_DOUBT = {AttemptState.UNKNOWN, AttemptState.HELD}


class Verb(StrEnum):
    """What a decision would do with a clip."""

    BUY = "buy"
    """A purchase would be queued."""
    REUSE = "reuse"
    """A delivered video of the same request exists; it costs nothing."""
    ADOPT = "adopt"
    """A purchase of the same request is open; the decision waits for it."""
    HOLD = "hold"
    """It is not known whether it was bought. Its money counts, and nothing is bought until it is settled."""
    REFUSE = "refuse"
    """Nothing would be bought; see the reason."""


_FIRST = (Verb.BUY, Verb.REFUSE, Verb.HOLD, Verb.ADOPT, Verb.REUSE)
"""The verbs in the order in which a take's verb becomes the clip's."""


@dataclass(frozen=True)
class PlannedClip:
    """One clip of a plan; money in micro-dollars."""

    clip: str
    """Its key."""
    series: str
    """Its series."""
    day: dt.date
    """The day on which it would be bought."""
    verb: Verb
    """What the decision would do."""
    request: ClipRequest | None = None
    """The request, None if it cannot be rendered."""
    attempt: Attempt | None = None
    """The purchase that is reused, adopted, in doubt or in the way."""
    reason: str | None = None
    """The reason, if the verb does not tell it."""
    takes: int = 0
    """How many takes would be bought."""
    floor: int = 0
    """The cost if the first purchase succeeds; 0 if only an upper bound of the price is known."""
    ceiling: int = 0
    """The highest cost, with every try and fallback that the series allows."""

    @property
    def take_ceiling(self) -> int:
        """The highest cost of one take."""
        return self.ceiling // max(self.takes, 1)

    def approval(self, request: ClipRequest) -> Approval:
        """The approval that a person gives by agreeing to this line with its request."""
        return Approval(self.clip, request.order_fingerprint, self.take_ceiling, max(self.takes, 1))


@dataclass(frozen=True)
class Plan:
    """What a decision would do, and its cost in micro-dollars."""

    clips: list[PlannedClip]
    """The clips in the order of the decision."""
    caps: list[CapLine] = field(default_factory=list)
    """Every cap that the purchases count in."""
    stops: list[Stop] = field(default_factory=list)
    """The present stops."""
    problems: list[str] = field(default_factory=list)
    """Mistakes of series that the plan leaves out."""
    warnings: list[str] = field(default_factory=list)
    """Endpoints of the plan that are retired, or will be soon."""
    ways: list[DraftWay] = field(default_factory=list)
    """For each series with drafts: the cost of drafts and finishes, and of takes straight from the series' endpoint."""
    may_not_buy: str | None = None
    """Why this host or this ledger may not buy; None if it may."""

    @property
    def floor(self) -> int:
        """The cost if every first purchase succeeds, in micro-dollars."""
        return sum(clip.floor for clip in self.clips)

    @property
    def ceiling(self) -> int:
        """The highest cost, in micro-dollars."""
        return sum(clip.ceiling for clip in self.clips)

    @property
    def takes(self) -> int:
        """The number of takes that would be bought."""
        return sum(clip.takes for clip in self.clips)

    @property
    def counts(self) -> dict[Verb, int]:
        """The number of clips of each verb."""
        numbers = Counter(clip.verb for clip in self.clips)
        return {verb: numbers[verb] for verb in Verb if numbers[verb]}


@dataclass(frozen=True)
class TakesAsked:
    """The takes that a decision asks for, of each of its clips."""

    number: int | None = None
    """How many; None for as many as the clip's series declares."""
    regenerate: bool = False
    """Whether also of delivered, unchanged clips."""


AS_DECLARED = TakesAsked()


class Planning:
    """Makes plans.

    Args:
        ledger: The ledger, which is only read.
        asked: The takes that the decision would ask for.
        quotes: The providers' quotes, in micro-dollars by fingerprint, for orders without a price in the catalogue. None if
            the providers were not asked.
    """

    def __init__(
        self,
        declarations: Declarations,
        ledger: Ledger,
        asked: TakesAsked = AS_DECLARED,
        *,
        quotes: Mapping[str, int] | None = None,
    ) -> None:
        self._declarations = declarations
        self._ledger = ledger
        self._asked = asked
        self._quotes = quotes or {}
        self._is_quoted = quotes is not None
        self._stops = stops.stops(ledger)
        self._pauses = pauses(ledger)
        self._today = ledger.budget.day(ledger.clock())

    def plan(self, clips: Sequence[DueClip]) -> Plan:
        """Plan these clips.

        Raises:
            resources.errors.UnavailableError: The ledger does not answer.
        """
        requests, problems = self._render(clips)
        # whether a draft is bought again depends on its finishes
        several = [key for key, request in requests.items() if request.takes > 1 or request.is_draft]
        known = known_purchases(self._ledger, list(requests), several=several)
        orders = {
            one.clip.key: Order(requests[one.clip.key], one.decision, max(self._today, one.day.isoformat()))
            for one in clips
            if one.clip.key in requests
        }
        purse = Purse(self._ledger, list(orders.values()))
        planned = []
        for one in clips:
            key = one.clip.key
            if key in problems:
                planned.append(
                    PlannedClip(
                        key, one.clip.series, one.day, Verb.REFUSE, requests.get(key), reason=problems[key]
                    )
                )
            else:
                planned.append(self._decide(one, orders[key], known.get(key, KnownPurchases()), purse))
        wrong = [str(problem) for problem in self._declarations.problems]
        ways = draft_ways(
            self._ledger,
            [
                (one.request, one.takes, one.floor or one.ceiling, one.ceiling)
                for one in planned
                if one.verb is Verb.BUY and one.request is not None
            ],
        )
        return Plan(planned, list(purse.lines()), self._stops, wrong, self._warnings(clips), ways)

    def _warnings(self, clips: Iterable[DueClip]) -> list[str]:
        """Warnings about paused accounts, and about endpoints of these clips that are retired or will be."""
        today = dt.date.fromisoformat(self._today)
        warnings: dict[str, None] = {}
        used = {
            (one.clip.series, way.endpoint.id): way.endpoint.lifecycle
            for one in clips
            for way in self._declarations.series[one.clip.series].endpoints.of(one.clip.name)
        }
        for (series, endpoint), lifecycle in used.items():
            if (warning := lifecycle.warning(today)) is not None:
                warnings[f"{endpoint} ({series}) {warning}"] = None
        return [*map(str, self._pauses), *warnings]

    def requests(self, clips: Sequence[DueClip]) -> dict[str, ClipRequest]:
        """The requests of the clips that can be rendered, by key; the provider may be asked for their prices."""
        return self._render(clips)[0]

    def _render(self, clips: Iterable[DueClip]) -> tuple[dict[str, ClipRequest], dict[str, str]]:
        """The requests, and the refusals that need no ledger. One bad clip refuses its whole batch."""
        requests: dict[str, ClipRequest] = {}
        problems: dict[str, str] = {}
        batches: dict[str, list[str]] = {}
        for one in clips:
            key = one.clip.key
            batches.setdefault(one.decision, []).append(key)
            try:
                requests[key] = self._declarations.render(one.clip).with_takes(self._asked.number)
            except DailiesError as error:
                problems[key] = str(error)
        if problems:
            for keys in batches.values():
                bad = next((key for key in keys if key in problems), None)
                if bad is not None:
                    why = f"{bad}, which would be bought with it, cannot be: a batch with one bad clip is refused whole"
                    problems |= {key: why for key in keys if key not in problems}
        return requests, problems

    def _decide(self, one: DueClip, order: Order, bought: KnownPurchases, purse: Purse) -> PlannedClip:
        """Plan one clip from the rulings on its takes."""
        request, known = order.request, bought.known
        outdated = [a for a in known if rules.is_outdated(request, a)]
        known = [a for a in known if a not in outdated]
        current = bought.current.id if bought.current else None
        for attempt in outdated:
            purse.give_back(attempt)
        say = _Sayer(one, request)
        planned = [
            self._decide_take(
                say,
                rules.ruling_of(
                    take, known, current, decision=order.decision, regenerate=self._asked.regenerate
                ),
                order,
                purse,
            )
            for take in request.each_take(order.decision, regenerate=self._asked.regenerate)
        ]
        return self._plan_of_takes(planned, outdated)

    def _decide_take(self, say: "_Sayer", decided: rules.Decided, order: Order, purse: Purse) -> PlannedClip:
        if decided.ruling is Ruling.NEW:
            return self._buy(say, order, purse)
        attempt = decided.attempt
        if decided.ruling is Ruling.REUSED:
            return say(Verb.REUSE, attempt)
        if decided.ruling is Ruling.REFUSED:
            return say(Verb.REFUSE, attempt, decided.reason)
        in_doubt = attempt is not None and attempt.state in IN_DOUBT
        return say(Verb.HOLD if in_doubt else Verb.ADOPT, attempt, attempt.reason if attempt else None)

    @staticmethod
    def _plan_of_takes(planned: Sequence[PlannedClip], outdated: Sequence[Attempt]) -> PlannedClip:
        """The line of a clip, from the lines of its takes."""
        bought = [one for one in planned if one.verb is Verb.BUY]
        if not bought:
            return min(planned, key=lambda one: _FIRST.index(one.verb))
        others = Counter(one.verb for one in planned if one.verb is not Verb.BUY)
        refused = next((one.reason for one in planned if one.verb is Verb.REFUSE), None)
        reasons = [bought[0].reason, refused]
        if outdated:
            reasons.insert(0, "replaces a queued purchase with an older request")
        if len(planned) > 1:
            rest = "".join(f", {number} to {verb.value}" for verb, number in others.items())
            reasons.insert(0, f"{len(bought)} of {len(planned)} takes{rest}")
        return replace(
            bought[0],
            attempt=outdated[0] if outdated else None,
            reason="; ".join(filter(None, reasons)) or None,
            takes=len(bought),
            floor=sum(one.floor for one in bought),
            ceiling=sum(one.ceiling for one in bought),
        )

    def _buy(self, say: "_Sayer", order: Order, purse: Purse) -> PlannedClip:
        request = order.request
        quote = self._quotes.get(request.fingerprint)
        price = quote if request.price_micros is None else request.price_micros
        if price is None:
            return say(Verb.REFUSE, None, rules.unknown_price(request, asked=self._is_quoted))
        stop = next((s for s in self._stops if s.account in {ALL, request.account_name}), None)
        if stop is not None and not stop.kind.reopens:
            return say(Verb.REFUSE, None, f"{stop} Nothing was bought.")
        ceiling = self._priced(request, max(price, quote or 0)).ceiling_micros
        refusal = purse.reserve(order, price, ceiling)
        if refusal is not None:
            return say(Verb.REFUSE, None, refusal)
        bound = self._is_bound(request)
        floor = price
        if bound:
            floor = quote or 0
        reason = None
        if quote is not None and quote != price and not bound:
            reason = f"its provider quotes {show_usd(quote)} now, the catalogue says {show_usd(price)}"
        return say(Verb.BUY, None, reason, floor=floor, ceiling=ceiling)

    def _priced(self, request: ClipRequest, price: int) -> ClipRequest:
        """The request with this price in micro-dollars, and with quotes for fallbacks without a price in the catalogue."""
        fallbacks = tuple(
            choice
            if choice.price_micros is not None
            else choice.model_copy(update={"price_micros": self._quotes.get(choice.fingerprint)})
            for choice in request.fallbacks
        )
        return request.model_copy(update={"price_micros": price, "fallbacks": fallbacks})

    def _is_bound(self, request: ClipRequest) -> bool:
        """Whether the catalogue knows only an upper bound of the price."""
        series = self._declarations.series.get(request.series)
        return series is not None and any(
            way.endpoint.pricing.basis == "upper_bound"
            for way in series.endpoints
            if (way.endpoint.provider, way.endpoint.id) == (request.provider, request.endpoint)
        )


@dataclass(frozen=True)
class _Sayer:
    """Makes the line of one clip."""

    wanted: DueClip
    request: ClipRequest

    def __call__(
        self,
        verb: Verb,
        attempt: Attempt | None,
        reason: str | None = None,
        *,
        floor: int = 0,
        ceiling: int = 0,
    ) -> PlannedClip:
        one = self.wanted
        return PlannedClip(
            one.clip.key,
            one.clip.series,
            one.day,
            verb,
            self.request,
            attempt,
            reason,
            floor=floor,
            ceiling=ceiling,
        )
