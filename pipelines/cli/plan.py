"""`dailies plan`: what would be bought, reused, adopted, held or refused, and what it would cost. Nothing is bought."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pipelines.cli.chosen import ClipChoice, chosen_clips
from pipelines.cli.declared import declarations_of
from resources.errors import ConfigurationError, DailiesError
from resources.ledger import data_pushes, policy_history
from resources.ledger.ledger import Ledger
from resources.money import to_usd
from resources.orders import ClipRequest, shown_body
from resources.planning import (
    AS_DECLARED,
    DueClip,
    Edit,
    Plan,
    PlannedClip,
    Planning,
    Selection,
    TakesAsked,
    Verb,
    due_clips,
    edits,
)
from resources.planning.renames import renamed
from resources.series import Clip, Declarations
from resources.settings import Settings, open_ledger
from resources.shared_data.source import checked_digest

LISTED = 40
"""The most clips that a plan compares with their newest purchases."""


def make(
    settings: Settings, choice: ClipChoice, asked: TakesAsked = AS_DECLARED, *, quote: bool = False
) -> tuple[Plan, list[Edit]]:
    """Plan what is declared.

    Args:
        choice: Without selectors, the plan covers every schedule that is due.
        quote: Whether to ask the providers for their prices, which is free.

    Raises:
        resources.errors.DailiesError: A selector names no series or clip, or the ledger or a provider does not answer.
    """
    declarations = declarations_of(settings)
    now = dt.datetime.now(dt.UTC)
    if not choice.selectors:
        selection = Selection(_day(choice.since), _day(choice.until), choice.names)
        due = due_clips(declarations, selection, now=now)
    else:
        clips = chosen_clips(settings, declarations, choice)
        due = [_due(clip, clip.date or now.date()) for clip in clips]
    return plan_of(settings, declarations, due, asked, quote=quote)


def _day(when: dt.datetime | None) -> dt.date | None:
    return when.date() if when else None


def _due(clip: Clip, day: dt.date) -> DueClip:
    return DueClip(clip, day, f"plan:{clip.series}:{day.isoformat()}")


def plan_of(
    settings: Settings,
    declarations: Declarations,
    clips: Sequence[DueClip],
    asked: TakesAsked,
    *,
    quote: bool,
) -> tuple[Plan, list[Edit]]:
    """Plan these clips, and list the changes in those that were bought before; see `make`."""
    with open_ledger(settings) as ledger:
        quotes = None
        if quote:
            import asyncio

            requests = Planning(declarations, ledger).requests(clips)
            quotes = asyncio.run(_quotes(settings, list(requests.values())))
        planning = Planning(declarations, ledger, asked, quotes=quotes)
        planned = planning.plan(clips)
        changed = []
        if len(planned.clips) <= LISTED:
            changed = edits(ledger, planned)
            planned = replace(planned, warnings=[*planned.warnings, *renamed(ledger, planned, declarations)])
        return _with_refusal(settings, ledger, planned), changed


def _with_refusal(settings: Settings, ledger: Ledger, plan: Plan) -> Plan:
    """Add to a plan why this host may not buy: its settings, its data folder or a ledger that is older than its bucket."""
    from pipelines.cli.bucket import refusal_of_bucket

    if (refusal := policy_history.in_force(ledger).refusal) is not None:
        return replace(plan, may_not_buy=refusal)
    if settings.reads_bucket or data_pushes.current(ledger) is not None:
        try:
            checked_digest(settings, ledger)
        except ConfigurationError as error:
            return replace(plan, may_not_buy=str(error))

    try:
        return replace(plan, may_not_buy=refusal_of_bucket(settings, ledger))
    except DailiesError as error:
        unread = f"whether this ledger may buy is not known, because its bucket cannot be read: {error}"
        return replace(plan, warnings=[*plan.warnings, unread])


async def _quotes(settings: Settings, requests: Sequence[ClipRequest]) -> dict[str, int]:
    """Ask for the quotes of requests and fallbacks, in micro-USD by fingerprint. Orders without a quote are left out."""
    from resources.production.quotes import quoted
    from resources.providers.accounts import build_provider

    accounts = [settings.account(name) for name in sorted({request.account_name for request in requests})]
    providers = {account.name: build_provider(account) for account in accounts}
    try:
        # requests with a catalogue price are quoted too, so that the plan shows a changed price
        answers = await quoted(
            (request.model_copy(update={"price_micros": None}) for request in requests), providers
        )
    finally:
        for provider in providers.values():
            await provider.aclose()
    quotes: dict[str, int | None] = {}
    for answer in answers:
        quotes |= {choice.fingerprint: choice.price_micros for choice in answer.fallbacks}
        quotes[answer.fingerprint] = answer.price_micros
    return {order: price for order, price in quotes.items() if price is not None}


def exit_code(plan: Plan) -> int:
    """0 if every clip can be produced, 1 if clips are refused or held, 2 if series are broken or the ledger may not buy."""
    if plan.problems or plan.may_not_buy is not None:
        return 2
    return 1 if {Verb.REFUSE, Verb.HOLD} & plan.counts.keys() else 0


def document(plan: Plan, changed: Sequence[Edit] = ()) -> dict[str, Any]:
    """The plan as JSON; money is exact text in USD."""
    return {
        "clips": [_clip(clip) for clip in plan.clips],
        "edits": [asdict(edit) for edit in changed],
        "counts": {verb.value: number for verb, number in plan.counts.items()},
        "floor_usd": _usd(plan.floor),
        "ceiling_usd": _usd(plan.ceiling),
        "caps": [
            {
                **line.scope._asdict(),
                "key": line.scope.key.removeprefix("plan:"),
                "cap_usd": _usd(line.cap),
                "spent_usd": _usd(line.spent),
                "floor_usd": _usd(line.floor),
                "ceiling_usd": _usd(line.ceiling),
            }
            for line in plan.caps
        ],
        "draft_ways": [
            {
                "series": way.series,
                "clips": way.clips,
                "drafts_usd": _usd(way.drafts),
                "finishes_usd": _usd(way.finishes),
                "share_finished": way.share,
                "clips_finished": way.finished,
                "clips_drafted": way.drafted,
                "expected_usd": _usd(way.expected),
                "floor_usd": _usd(way.floor),
                "ceiling_usd": _usd(way.ceiling),
                "straight_usd": None if way.straight is None else _usd(way.straight),
                "crossing_share": way.crossing,
            }
            for way in plan.ways
        ],
        "problems": plan.problems,
        "warnings": plan.warnings,
        "may_buy": plan.may_not_buy is None,
        "may_not_buy": plan.may_not_buy,
        "stopped": [{"account": stop.account, "reason": str(stop)} for stop in plan.stops],
    }


def _clip(clip: PlannedClip) -> dict[str, Any]:
    request, attempt = clip.request, clip.attempt
    asked: Mapping[str, Any] = (
        {}
        if request is None
        else {
            "provider": request.provider,
            "endpoint": request.endpoint,
            "request": shown_body(request.body),
            "fingerprint": request.fingerprint,
            "edited": None if request.edited is None else request.edited.model_dump(mode="json"),
            "fallbacks": [
                {"provider": way.provider, "endpoint": way.endpoint, "body": shown_body(way.body)}
                for way in request.fallbacks
            ],
        }
    )
    return {
        "clip": clip.clip,
        "series": clip.series,
        "day": clip.day.isoformat(),
        "verb": clip.verb.value,
        "reason": clip.reason,
        "takes": clip.takes,
        **asked,
        "floor_usd": _usd(clip.floor),
        "ceiling_usd": _usd(clip.ceiling),
        "attempt": None if attempt is None else attempt.id,
        "state": None if attempt is None else attempt.state.value,
    }


def _usd(micros: int) -> str:
    return f"{to_usd(micros):.6f}".rstrip("0").rstrip(".")
