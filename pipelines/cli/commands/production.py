"""Commands about purchases: check, plan, prompt, produce, retry, schedules, rename, declare."""

import datetime as dt
from enum import StrEnum
from typing import Annotated

import typer

from pipelines.cli.completion import (
    complete_key,
    complete_key_or_series,
    complete_selector,
    complete_series,
)
from pipelines.cli.terminal import (
    CLIPS,
    Json,
    Long,
    Yes,
    a_day,
    complain,
    counted,
    note,
    print_json,
    tell,
)

production_app = typer.Typer()
PANEL = "Produce"


class OnOff(StrEnum):
    """Whether a schedule is on."""

    ON = "on"
    OFF = "off"


Takes = Annotated[
    int | None,
    typer.Option(
        "--takes",
        min=1,
        max=9,
        help="How many takes of each clip; by default as many as its series declares.",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out clips that are invalid instead of stopping the batch.")
]


@production_app.command(rich_help_panel=PANEL)
def check() -> None:
    """Check all declarations in the data folder, and the settings. Sends nothing."""
    from pipelines.cli.check import examine
    from resources.settings import load_settings

    declarations, problems, notes = examine(load_settings())
    for text in problems:
        complain(text)
    for text in notes:
        note(text)
    fine = len(declarations.series)
    tell(f"{fine} series {'is' if fine == 1 else 'are'} fine, {counted(len(problems), 'problem')}")
    raise typer.Exit(2 if problems else 0)


@production_app.command(rich_help_panel=PANEL)
def plan(
    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...",
            autocompletion=complete_selector,
            help=f"{CLIPS} By default every schedule that is due.",
        ),
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(parser=a_day, metavar="YYYY-MM-DD", help="The date; by default today."),
    ] = None,
    until: Annotated[
        dt.datetime | None,
        typer.Option(
            parser=a_day, metavar="YYYY-MM-DD", help="The last date of a range, which begins at --date."
        ),
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="Only this clip, by name or key; may be repeated.", autocompletion=complete_key),
    ] = None,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Plan what `produce --regenerate` would buy.")
    ] = False,
    takes: Takes = None,
    quote: Annotated[
        bool, typer.Option("--quote", help="Ask the providers for their prices (free).")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every clip, however many.")] = False,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """Show what would be bought, reused, adopted, held or refused, and what it would cost. Buys nothing."""
    from pipelines.cli.chosen import ClipChoice
    from pipelines.cli.plan import document, exit_code, make
    from pipelines.cli.plan_table import show
    from pipelines.cli.stack_settings import running_settings
    from resources.planning import TakesAsked

    choice = ClipChoice(selectors or [], since=date, until=until, names=clip or [])
    planned, changed = make(running_settings(), choice, TakesAsked(takes, regenerate=regenerate), quote=quote)
    if as_json:
        print_json(document(planned, changed))
    else:
        show(planned, changed, selectors=selectors or [], everything=everything, long=long)
    raise typer.Exit(exit_code(planned))


@production_app.command(rich_help_panel=PANEL)
def prompt(
    key: Annotated[
        str,
        typer.Argument(
            help="The clip's key, e.g. city-sunset-2026-11-20-hero; a series' name lists its clips.",
            autocompletion=complete_key_or_series,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show a clip's request as it would be sent: the rendered prompt, every parameter, the price. Sends nothing."""
    from pipelines.cli.declared import clips_of, declarations_of
    from pipelines.cli.prompt import document, show
    from resources.settings import load_settings

    declarations = declarations_of(load_settings())
    if key in declarations.series:
        keys = clips_of(declarations, key, None, [])
        if as_json:
            print_json(keys)
        else:
            tell(f"{key} is a series; `dailies prompt` shows one of its clips:")
            tell("\n".join(keys))
        return
    request = declarations.render(declarations.find(key))
    if as_json:
        print_json(document(request))
    else:
        show(request)


@production_app.command(rich_help_panel=PANEL)
def produce(
    selectors: Annotated[
        list[str], typer.Argument(metavar="CLIPS...", autocompletion=complete_selector, help=CLIPS)
    ],
    date: Annotated[
        dt.datetime | None,
        typer.Option(parser=a_day, metavar="YYYY-MM-DD", help="Date of a dated series; by default today."),
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="Only this clip, by name or key; may be repeated.", autocompletion=complete_key),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the clips are delivered.")] = False,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Buy another take of delivered, unchanged clips.")
    ] = False,
    takes: Takes = None,
    skip_bad: SkipBad = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show what would be bought and for how much, ask, and buy it. Without --wait, the completion sensor collects the clips."""
    from pipelines.cli.approval import approve, producible_clips
    from pipelines.cli.chosen import ClipChoice, chosen_clips
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.declared import declarations_of
    from pipelines.cli.launch import Launch, check_dagster, finish, launch
    from pipelines.cli.usage import before_buying
    from resources.errors import ConfigurationError
    from resources.planning import TakesAsked
    from resources.settings import load_settings

    with before_buying():
        settings = load_settings()
        declarations = declarations_of(settings)
        clips = chosen_clips(settings, declarations, ClipChoice(selectors, since=date, names=clip or []))
        undated = next((one.series for one in clips if one.date is None), None)
        if date is not None and undated is not None:
            raise ConfigurationError(f"the series {undated} has no dates: leave out --date")
    if not clips:
        complain(
            f"{' '.join(selectors)} chooses no clip, so nothing was bought; `dailies plan` takes the same words"
        )
        return
    all_series = {one.series for one in clips}
    how = Launch(
        "produce",
        "produce_clips" if wait else "submit_clips",
        TakesAsked(takes, regenerate=regenerate),
        series=all_series.pop() if len(all_series) == 1 else None,
    )
    with DagsterApi.of(settings) as api:
        with before_buying():
            check_dagster(settings, api)
        rendered = producible_clips(declarations, [one.key for one in clips], skip_bad=skip_bad)
        agreed = approve(declarations, rendered, how, yes=yes, quiet=as_json)
        launched = launch(settings, api, agreed.approvals, how)
        finish(settings, api, launched, wait=wait, as_json=as_json, refused=agreed.refused)


@production_app.command(rich_help_panel=PANEL)
def retry(
    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...",
            autocompletion=complete_selector,
            help=f"{CLIPS} By default every failed clip.",
        ),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Only failed clips of this series.", autocompletion=complete_series)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the clips are delivered.")] = False,
    skip_bad: SkipBad = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show what buying failed clips again would cost, ask, and buy them in one run. It is a new decision."""
    from pipelines.cli.approval import approve, producible_clips
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.declared import declarations_of
    from pipelines.cli.failed_clips import failed_clips
    from pipelines.cli.launch import RETRY, check_dagster, finish, launch
    from pipelines.cli.usage import before_buying
    from resources.settings import load_settings, open_ledger

    with before_buying():
        settings = load_settings()
        with open_ledger(settings) as ledger:
            keys = failed_clips(ledger, selectors or [], series=series)
    if not keys:
        if as_json:
            print_json({"decision": None, "runs": [], "clips": []})
        else:
            tell("no clip has failed, so there is nothing to retry")
        return
    with DagsterApi.of(settings) as api:
        with before_buying():
            check_dagster(settings, api)
            declarations = declarations_of(settings)
        rendered = producible_clips(declarations, keys, skip_bad=skip_bad)
        agreed = approve(declarations, rendered, RETRY, yes=yes, quiet=as_json)
        launched = launch(settings, api, agreed.approvals, RETRY)
        finish(settings, api, launched, wait=wait, as_json=as_json, refused=agreed.refused)


@production_app.command(rich_help_panel=PANEL)
def schedules(
    switch_to: Annotated[
        OnOff | None, typer.Argument(metavar="[on|off]", help="Turn the schedule of a series on or off.")
    ] = None,
    series: Annotated[
        str | None, typer.Argument(metavar="[SERIES]", help="Which.", autocompletion=complete_series)
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """List the schedules with their next ticks and prices, or turn one on or off."""
    from pipelines.cli.approval import agree
    from pipelines.cli.declared import declarations_of
    from pipelines.cli.timetable import document, price, row_of, show_timetable, switch, timetable
    from resources.settings import load_settings

    settings = load_settings()
    rows = timetable(settings, declarations_of(settings), now=dt.datetime.now(dt.UTC))
    if switch_to is not None:
        if series is None:
            raise typer.BadParameter(f"name the series: `dailies schedules {switch_to.value} SERIES`")
        row = row_of(rows, series)
        if switch_to is OnOff.ON:
            agree(
                f"buy at every tick of {series}, next {row.at}, {counted(row.clips, 'clip')} for {price(row)}",
                yes=yes,
            )
        switch(settings, row, on=switch_to is OnOff.ON)
        rows = timetable(settings, declarations_of(settings), now=dt.datetime.now(dt.UTC))
    if as_json:
        print_json(document(rows))
    elif rows:
        show_timetable(rows)
    else:
        tell("no series has a schedule")


@production_app.command(rich_help_panel=PANEL)
def rename(
    old: Annotated[str, typer.Argument(help="The series' name.", autocompletion=complete_series)],
    new: Annotated[str, typer.Argument(help="Its new name.")],
) -> None:
    """Rename a series and its file. Its clips keep their keys, so nothing is bought again."""
    from pipelines.cli.rename import rename as give_name
    from resources.settings import load_settings

    give_name(load_settings(), old, new)


@production_app.command(rich_help_panel=PANEL)
def declare(
    series: Annotated[
        list[str] | None,
        typer.Argument(help="Names of series; by default all.", autocompletion=complete_series),
    ] = None,
    past: Annotated[
        bool, typer.Option("--past", help="Also render clips from before today, which a sensor leaves alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Render changed prompts, so that Dagster shows which clips are stale. Buys nothing."""
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.declare import changed_stretches, request_renders
    from pipelines.cli.terminal import counted
    from resources.settings import load_settings

    settings = load_settings()
    changed = changed_stretches(settings, series or [], past=past)
    with DagsterApi.of(settings) as api:
        runs = request_renders(api, changed)
    keys = [key for stretch in changed for key in stretch]
    if as_json:
        print_json({"runs": runs, "clips": keys})
    else:
        tell(f"{counted(len(keys), 'prompt')} changed; {counted(len(runs), 'run')} requested")
