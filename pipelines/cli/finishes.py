"""`dailies finish`, and the finish that `dailies circle` buys: the price, the question, the order."""

import getpass
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.approval import agree
from pipelines.cli.clip_table import as_document
from pipelines.cli.declared import declared_limits
from pipelines.cli.terminal import age, complain, counted, table_of
from resources.errors import ConfigurationError
from resources.ledger import waiting_finishes
from resources.ledger.finishes import FinishOrdered, Limits, order_finish
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.waiting_finishes import WaitingFinish
from resources.money import show_usd, to_usd
from resources.planning import FinishOffer, offer_finish
from resources.settings import Settings


@dataclass(frozen=True)
class Offered:
    """A circled draft that lacks its finish, with the finish's price."""

    waits: WaitingFinish
    offer: FinishOffer


def offered(ledger: Ledger, clips: Collection[str], limits: Limits) -> list[Offered]:
    """The circled drafts that lack their finish, of these clips or of all.

    Raises:
        ConfigurationError: One of these clips has none.
    """
    with ledger.read() as connection:
        waits = waiting_finishes.waiting(connection)
    if missing := [clip for clip in clips if clip not in {one.clip for one in waits}]:
        raise ConfigurationError(
            f"{missing[0]} has no circled draft that lacks a finish; `dailies takes {missing[0]}` shows its takes. Nothing was bought."
        )
    return [
        Offered(one, offer_finish(ledger, one.draft, limits))
        for one in waits
        if not clips or one.clip in clips
    ]


def show_offer(offer: FinishOffer) -> None:
    """Print the caps that a finish counts in, before the question."""
    for cap in offer.caps:
        name = " ".join(filter(None, (cap.scope.of, cap.scope.name, cap.scope.period)))
        complain(
            f"{name}: {show_usd(cap.spent)} spent, {show_usd(cap.ceiling)} with it, of {show_usd(cap.cap)}"
        )
    if offer.waits is not None:
        complain(f"it would wait: {offer.waits}")


def price_of_circle(ledger: Ledger, settings: Settings, draft: Attempt, *, yes: bool) -> tuple[int, Limits]:
    """Ask whether to buy the finish of a draft that is circled; returns the price that the person agrees to.

    Raises:
        ConfigurationError: The draft cannot be finished.
        typer.Exit: The answer is no, or no terminal can ask. Nothing was changed.
    """
    limits = declared_limits(settings, ledger)
    offer = offer_finish(ledger, draft, limits)
    if offer.refusal is not None or offer.request is None:
        raise ConfigurationError(
            f"{offer.refusal}. Nothing was changed; --no-finish circles it all the same."
        )
    if not yes:
        show_offer(offer)
    agree(
        f"circle this draft of {draft.clip} and buy its finish ({offer.way}) from {offer.request.endpoint} for {offer.price}",
        yes=yes,
    )
    return offer.ceiling, limits


def order_all(ledger: Ledger, offers: Sequence[Offered], limits: Limits, *, yes: bool) -> list[FinishOrdered]:
    """Ask once for all of these finishes, and order them.

    Raises:
        typer.Exit: The answer is no, or no terminal can ask. Nothing was bought.
    """
    may = [one for one in offers if one.offer.refusal is None]
    if not may:
        return []
    floor, ceiling = (sum(getattr(one.offer, bound) for one in may) for bound in ("floor", "ceiling"))
    price = show_usd(ceiling) if floor == ceiling else f"{show_usd(floor)} to {show_usd(ceiling)}"
    agree(f"buy {counted(len(may), 'finish')} for {price}", yes=yes)
    who = getpass.getuser()
    return [
        order_finish(
            ledger,
            one.waits.clip,
            decision=one.offer.decision,
            at_most_micros=one.offer.ceiling,
            who=who,
            limits=limits,
        )
        for one in may
    ]


def table(offers: Sequence[Offered], *, now: float) -> Table:
    """One line for each circled draft."""
    made = table_of(
        "clip",
        "draft",
        "finish by",
        "price",
        "waits",
        "kept for",
        "why",
        right={"price", "waits"},
        wraps={"why"},
    )
    for one in offers:
        offer, waits = one.offer, one.waits
        ordered = f"ordered by {waits.ordered_by}: " if waits.decision is not None else ""
        why = (
            waits.reason
            or offer.refusal
            or offer.waits
            or ("" if ordered else "nobody who may buy has ordered it")
        )
        made.add_row(
            waits.clip,
            waits.draft.id[:8],
            Text(offer.request.endpoint if offer.request else "-"),
            offer.price if offer.request else "-",
            age(now - waits.since),
            "-" if waits.ends_at is None else age(max(0.0, waits.ends_at - now)),
            Text(f"{ordered}{why}"),
        )
    return made


def document(one: Offered) -> dict[str, Any]:
    """The same content as JSON; money is exact text in USD."""
    waits, offer = one.waits, one.offer
    return {
        "clip": waits.clip,
        "draft": waits.draft.id,
        "way": offer.way,
        "endpoint": offer.request.endpoint if offer.request else None,
        "price_usd": str(to_usd(offer.floor)),
        "at_most_usd": str(to_usd(offer.ceiling)),
        "since": waits.since,
        "ends_at": waits.ends_at,
        "ordered_by": waits.ordered_by,
        "why": waits.reason or offer.refusal or offer.waits,
    }


def ordered_document(ordered: FinishOrdered) -> dict[str, Any]:
    """The result of an order as JSON."""
    return {
        "clip": ordered.draft.clip,
        "draft": ordered.draft.id,
        "finish": None if ordered.finish is None else as_document(ordered.finish),
        "waits": ordered.why,
    }


def ordered_words(ordered: FinishOrdered) -> str:
    """The result of an order, in a sentence."""
    if ordered.finish is not None:
        return (
            f"the finish of {ordered.draft.clip} is on its way, for {show_usd(ordered.finish.quoted_micros)}"
        )
    return f"the finish of {ordered.draft.clip} is ordered and waits: {ordered.why}"
