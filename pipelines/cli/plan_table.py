"""Prints a plan: each clip's verb and reason, the caps, and the cost."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from pipelines.cli.edits import show_edits
from pipelines.cli.terminal import complain, console, counted, print_table, table_of, tell
from resources.ledger.budget import Scope
from resources.money import show_usd
from resources.orders import shown_body
from resources.planning import DraftWay, Edit, Plan, PlannedClip, Verb

MARKS = {
    Verb.BUY: ("+", "green"),
    Verb.REUSE: ("=", "cyan"),
    Verb.ADOPT: ("~", "yellow"),
    Verb.HOLD: ("?", "magenta"),
    Verb.REFUSE: ("!", "red"),
}
LISTED = 40
"""The most clips that are listed one by one. Of more clips, equal ones share a line."""
REASONS = 20
NUMBERS = {"price", "at most", "clips", "spent", "with this plan", "of"}


def show(
    plan: Plan,
    changed: Sequence[Edit] = (),
    *,
    selectors: Sequence[str] = (),
    everything: bool = False,
    long: bool = False,
) -> None:
    """Print a plan for a person."""
    for problem in plan.problems:
        complain(problem)
    if plan.may_not_buy is not None:
        complain(f"nothing of this plan would be bought now: {plan.may_not_buy}")
    if not plan.clips and selectors:
        tell(
            f"{' '.join(selectors)} chooses no clip. A space adds clips; a comma keeps those that fit both sides."
        )
        return
    if not plan.clips:
        tell("nothing is due; name a series, or a range with --date and --until")
        return
    show_decisions(plan, changed, everything=everything, long=long)
    buys = (
        "`dailies produce` buys" if plan.may_not_buy is None else "and nothing would be, for the reason above"
    )
    tell(f"nothing was bought or reserved; {buys}")


def show_decisions(
    plan: Plan, changed: Sequence[Edit] = (), *, everything: bool = False, long: bool = False
) -> None:
    """Print each clip's verb and reason, the caps, and the cost."""
    if everything or len(plan.clips) <= LISTED:
        _show_clips(plan.clips, long=long)
    else:
        _show_groups(plan.clips, long=long)
    if not long:
        _show_requests(plan.clips)
    _show_reasons(plan.clips)
    show_edits(changed)
    for stop in plan.stops:
        complain(str(stop))
    for warning in plan.warnings:
        tell(warning, mark="note: ", style="yellow")
    if plan.caps:
        table = table_of("cap", "spent", "with this plan", "at most", "of", right=NUMBERS, wraps={"cap"})
        for line in plan.caps:
            style = "yellow" if line.ceiling > line.cap else ""
            amounts = (line.spent, line.floor, line.ceiling, line.cap)
            table.add_row(Text(_scope_in_words(line.scope), style=style), *map(show_usd, amounts))
        print_table(table)
        console.print()
    counts = ", ".join(f"{number} to {verb.value}" for verb, number in plan.counts.items())
    tell(f"{counted(len(plan.clips), 'clip')}: {counts}")
    bounds = sum(clip.verb is Verb.BUY and not clip.floor for clip in plan.clips)
    unsure = f"; of {counted(bounds, 'clip')} only an upper bound is known" if bounds else ""
    tell(
        f"cost: at least {show_usd(plan.floor)}, if every first purchase succeeds, and at most "
        f"{show_usd(plan.ceiling)}{unsure}"
    )
    for way in plan.ways:
        tell(way_in_words(way))


def _scope_in_words(scope: Scope) -> str:
    """The scope of a cap, e.g. `series city run 2026-11-20`, short enough for a line of 80 columns."""
    # the planned run of a series has the series' name in its key, too
    key = scope.key.removeprefix("plan:").removeprefix(f"{scope.name}:")
    return " ".join(filter(None, (scope.of, scope.name, scope.period, key)))


def way_in_words(way: DraftWay) -> str:
    """The cost of a series' drafts and their finishes, in sentences."""
    history = (
        f"{way.share:.0%} of its clips are finished so far ({way.finished} of {way.drafted})"
        if way.drafted
        else "without a history every clip is expected to be finished"
    )
    words = (
        f"{way.series}: drafts for {show_usd(way.drafts)}, a finish of every clip for {show_usd(way.finishes)} more; {history}: "
        f"{show_usd(way.expected)} expected, {show_usd(way.floor)} to {show_usd(way.ceiling)}"
    )
    if way.straight is None or way.crossing is None:
        return f"{words}. Its endpoint finishes only drafts, so its clips cannot be bought without drafts."
    if way.crossing >= 1:
        compared = "the drafts are cheaper even if every clip is finished"
    elif way.crossing <= 0:
        compared = "the drafts are never cheaper"
    else:
        compared = f"the drafts are cheaper while less than {way.crossing:.0%} of the clips are finished"
    return f"{words}. Straight: {show_usd(way.straight)}; {compared}."


def _mark(verb: Verb) -> Text:
    mark, colour = MARKS[verb]
    return Text(f"{mark} {verb.value}", style=colour)


def _show_clips(clips: Sequence[PlannedClip], *, long: bool) -> None:
    more = ("endpoint", "parameters") if long else ()
    table = table_of("", "clip", *more, "price", "at most", right=NUMBERS)
    for clip in clips:
        what = (_endpoint(clip), Text(_parameters(clip))) if long else ()
        table.add_row(_mark(clip.verb), clip.clip, *what, *_prices([clip]))
    print_table(table)
    console.print()


def _show_groups(clips: Sequence[PlannedClip], *, long: bool) -> None:
    groups: dict[tuple[str, ...], list[PlannedClip]] = defaultdict(list)
    for clip in clips:
        groups[clip.verb.value, clip.series, *((_endpoint(clip), _parameters(clip)) if long else ())].append(
            clip
        )
    table = table_of(
        "",
        "clips",
        "series",
        *(("endpoint", "parameters") if long else ()),
        "price",
        "at most",
        right=NUMBERS,
    )
    for (verb, *words), alike in groups.items():
        table.add_row(_mark(Verb(verb)), str(len(alike)), *map(Text, words), *_prices(alike))
    print_table(table)
    console.print()


def _show_requests(clips: Sequence[PlannedClip]) -> None:
    """Print the orders: each endpoint with its parameters, and the number of its clips."""
    requests = Counter((_endpoint(clip), _parameters(clip)) for clip in clips if clip.request is not None)
    for (endpoint, parameters), number in requests.most_common(REASONS):
        tell(f"{counted(number, 'clip')} of {endpoint}: {parameters}")
    if len(requests) > REASONS:
        tell(f"... and {len(requests) - REASONS} more kinds of request; --long shows all")
    if requests:
        console.print()


def _show_reasons(clips: Sequence[PlannedClip]) -> None:
    """Print why clips are refused, held or replaced; clips with the same reason share a line."""
    groups: dict[tuple[Verb, str], list[str]] = defaultdict(list)
    for clip in clips:
        if clip.reason and clip.verb is not Verb.ADOPT:
            groups[clip.verb, clip.reason].append(clip.clip)
    for (verb, reason), keys in list(groups.items())[:REASONS]:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        tell(f"{keys[0]}{more}: {reason}", mark=f"{MARKS[verb][0]} {verb.value} ", style=MARKS[verb][1])
    if len(groups) > REASONS:
        tell(f"... and {len(groups) - REASONS} more reasons; --json names all")
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
