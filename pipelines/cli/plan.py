"""`dailies plan`: what would be bought, reused, adopted, held or refused, and what it would cost. Nothing is bought."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.bucket import bucket_if_any
from pipelines.cli.chosen import chosen_clips
from pipelines.cli.edits import show_edits
from pipelines.cli.launch import declarations_of
from pipelines.cli.terminal import complain, console, counted
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.ledger import Ledger
from resources.money import show_usd, to_usd
from resources.orders import ClipRequest, shown_body
from resources.planning import DueClip, Edit, Plan, PlannedClip, Planning, Selection, Verb, due_clips, edits
from resources.production.bucket_mark import BucketMark
from resources.production.quotes import quoted
from resources.providers.accounts import build_provider
from resources.series import Clip, Declarations
from resources.settings import Settings, open_ledger

MARKS = {
    Verb.BUY: ("+", "green"),
    Verb.REUSE: ("=", "cyan"),
    Verb.ADOPT: ("~", "yellow"),
    Verb.HOLD: ("?", "magenta"),
    Verb.REFUSE: ("!", "red"),
}
LISTED = 40
"""Up to so many clips are listed one by one; of more, those that are alike share a line."""
REASONS = 20


def make(
    settings: Settings,
    words: Sequence[str],
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    names: Sequence[str] = (),
    regenerate: bool = False,
    quote: bool = False,
) -> tuple[Plan, list[Edit]]:
    """Make a plan of what is declared.

    Args:
        words: What a person chooses; nothing for every schedule that is due.
        since: The date, or the first of a range; None for today.
        until: The last date of a range.
        names: Only these clips, by name or key.
        regenerate: As `dailies produce --regenerate` would.
        quote: Whether to ask the providers what they would charge, which is free.

    Raises:
        resources.errors.DailiesError: No such series or clip, or the ledger or a provider does not answer.
    """
    declarations = declarations_of(settings)
    now = dt.datetime.now(dt.UTC)
    if not words:
        found = due_clips(declarations, Selection((), _day(since), _day(until), names), now=now)
    else:
        clips = chosen_clips(settings, declarations, words, since=since, until=until, names=names)
        found = [_due(clip, clip.date or now.date()) for clip in clips]
    return plan_of(settings, declarations, found, regenerate=regenerate, quote=quote)


def _day(when: dt.datetime | None) -> dt.date | None:
    return when.date() if when else None


def _due(clip: Clip, day: dt.date) -> DueClip:
    return DueClip(clip, day, f"plan:{clip.series}:{day.isoformat()}")


def plan_of(
    settings: Settings,
    declarations: Declarations,
    clips: Sequence[DueClip],
    *,
    regenerate: bool = False,
    quote: bool = False,
) -> tuple[Plan, list[Edit]]:
    """The plan of these clips, and what has changed in those of them that were asked for before; see `make`."""
    with open_ledger(settings) as ledger:
        quotes = None
        if quote:
            requests = Planning(declarations, ledger).requests(clips)
            quotes = asyncio.run(_quotes(settings, list(requests.values())))
        made = Planning(declarations, ledger, regenerate=regenerate, quotes=quotes).plan(clips)
        changed = edits(ledger, made) if len(made.clips) <= LISTED else []
        return _with_its_bucket(settings, ledger, made), changed


def _with_its_bucket(settings: Settings, ledger: Ledger, plan: Plan) -> Plan:
    """The plan with the check of ledger and bucket: a ledger that is older than the bucket, or of another one, may not buy."""
    try:
        with bucket_if_any(settings) as bucket:
            if bucket is not None:
                BucketMark(ledger, bucket.store).examine()
    except ConfigurationError as error:
        return replace(plan, may_not_buy=str(error))
    except DailiesError as error:
        unread = f"whether this ledger may buy is not known, because its bucket cannot be read: {error}"
        return replace(plan, warnings=[*plan.warnings, unread])
    return plan


async def _quotes(settings: Settings, requests: Sequence[ClipRequest]) -> dict[str, int]:
    """The providers' quotes, in micro-USD by fingerprint; requests without a quote are left out."""
    accounts = [settings.account(name) for name in sorted({request.provider for request in requests})]
    providers = {account.name: build_provider(account) for account in accounts}
    try:
        # requests with a catalogue price are quoted too, so that a changed price shows
        answers = await quoted(
            (request.model_copy(update={"price_micros": None}) for request in requests), providers
        )
    finally:
        for provider in providers.values():
            await provider.aclose()
    return {a.fingerprint: a.price_micros for a in answers if a.price_micros is not None}


def show(plan: Plan, changed: Sequence[Edit] = (), *, everything: bool = False) -> None:
    """Print a plan for a person."""
    for problem in plan.problems:
        complain(problem)
    if plan.may_not_buy is not None:
        complain(f"nothing of this plan would be bought now: {plan.may_not_buy}")
    if not plan.clips:
        console.print("nothing is due; name a series, or a range with --date and --until")
        return
    show_decisions(plan, changed, everything=everything)
    buys = "`dailies produce` buys" if plan.may_not_buy is None else "and nothing would be, as said above"
    console.print(f"nothing was bought or reserved; {buys}")


def show_decisions(plan: Plan, changed: Sequence[Edit] = (), *, everything: bool = False) -> None:
    """Print what would become of each clip, why, the caps, and the cost."""
    if everything or len(plan.clips) <= LISTED:
        _show_clips(plan.clips)
    else:
        _show_groups(plan.clips)
    _show_reasons(plan.clips)
    show_edits(changed)
    for stop in plan.stops:
        complain(str(stop))
    for warning in plan.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))
    if plan.caps:
        table = _table("cap", "spent", "with this plan", "at most", "of")
        for line in plan.caps:
            words = (line.scope.of, line.scope.name, line.scope.period, line.scope.key.removeprefix("plan:"))
            style = "yellow" if line.ceiling > line.cap else ""
            amounts = (line.spent, line.floor, line.ceiling, line.cap)
            table.add_row(
                Text(" ".join(filter(None, words)), style=style), *(show_usd(amount) for amount in amounts)
            )
        console.print(table)
        console.print()
    told = ", ".join(f"{number} to {verb.value}" for verb, number in plan.counts.items())
    console.print(Text(f"{counted(len(plan.clips), 'clip')}: {told}"))
    bounds = sum(clip.verb is Verb.BUY and not clip.floor for clip in plan.clips)
    unsure = f"; of {counted(bounds, 'clip')} only an upper bound is known" if bounds else ""
    console.print(
        Text(
            f"cost: at least {show_usd(plan.floor)}, if every first purchase succeeds, and at most "
            f"{show_usd(plan.ceiling)}{unsure}"
        )
    )


def exit_code(plan: Plan) -> int:
    """0 if every clip can be produced, 1 if clips are refused or held, 2 if series are broken or the ledger may not buy."""
    if plan.problems or plan.may_not_buy is not None:
        return 2
    return 1 if {Verb.REFUSE, Verb.HOLD} & plan.counts.keys() else 0


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name in {"price", "at most", "clips", "spent", "with this plan", "of"}
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def _mark(verb: Verb) -> Text:
    mark, colour = MARKS[verb]
    return Text(f"{mark} {verb.value}", style=colour)


def _show_clips(clips: Sequence[PlannedClip]) -> None:
    table = _table("", "clip", "endpoint", "parameters", "price", "at most")
    for clip in clips:
        table.add_row(_mark(clip.verb), clip.clip, _endpoint(clip), Text(_parameters(clip)), *_prices([clip]))
    console.print(table)
    console.print()


def _show_groups(clips: Sequence[PlannedClip]) -> None:
    groups: dict[tuple[str, ...], list[PlannedClip]] = defaultdict(list)
    for clip in clips:
        groups[clip.verb.value, clip.series, _endpoint(clip), _parameters(clip)].append(clip)
    table = _table("", "clips", "series", "endpoint", "parameters", "price", "at most")
    for (verb, series, endpoint, parameters), alike in groups.items():
        table.add_row(_mark(Verb(verb)), str(len(alike)), series, endpoint, Text(parameters), *_prices(alike))
    console.print(table)
    console.print()


def _show_reasons(clips: Sequence[PlannedClip]) -> None:
    """Print why clips are refused, held or replaced; clips with the same reason share a line."""
    groups: dict[tuple[Verb, str], list[str]] = defaultdict(list)
    for clip in clips:
        if clip.reason and clip.verb is not Verb.ADOPT:
            groups[clip.verb, clip.reason].append(clip.clip)
    for (verb, reason), keys in list(groups.items())[:REASONS]:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        console.print(Text.assemble(_mark(verb), f" {keys[0]}{more}: {reason}"))
    if len(groups) > REASONS:
        console.print(f"... and {len(groups) - REASONS} more reasons; --json names all")
    if groups:
        console.print()


def _endpoint(clip: PlannedClip) -> str:
    return clip.request.endpoint if clip.request else ""


def _parameters(clip: PlannedClip) -> str:
    if clip.request is None:
        return ""
    shown = {name: value for name, value in shown_body(clip.request.body).items() if name != "prompt"}
    return ", ".join(f"{name} {_short(value)}" for name, value in shown.items())


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _prices(clips: Sequence[PlannedClip]) -> tuple[str, str]:
    if clips[0].verb is not Verb.BUY:
        return "", ""
    floor, ceiling = sum(clip.floor for clip in clips), sum(clip.ceiling for clip in clips)
    return (show_usd(floor) if floor else "?"), show_usd(ceiling)


def document(plan: Plan, changed: Sequence[Edit] = ()) -> dict[str, Any]:
    """A plan for a program: money as exact text in USD."""
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
        **asked,
        "floor_usd": _usd(clip.floor),
        "ceiling_usd": _usd(clip.ceiling),
        "attempt": None if attempt is None else attempt.id,
        "state": None if attempt is None else attempt.state.value,
    }


def _usd(micros: int) -> str:
    return f"{to_usd(micros):.6f}".rstrip("0").rstrip(".")
