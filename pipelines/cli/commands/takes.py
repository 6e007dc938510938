"""Commands about takes: takes, circle, finish, reject, take-back, edit, retake, fetch, disclosure, yield, room."""

import datetime as dt
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.completion import complete_key, complete_selector
from pipelines.cli.terminal import (
    CLIPS,
    Host,
    Json,
    Yes,
    a_day,
    complain,
    counted,
    print_json,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from pipelines.cli.takes import TypedVerdict

takes_app = typer.Typer()
PANEL = "Judge takes"
Clip = Annotated[str, typer.Argument(help="The clip's key.", autocompletion=complete_key)]
Named = Annotated[
    str | None, typer.Argument(help="The take's number or the beginning of its id; by default the only one.")
]
Note = Annotated[str, typer.Option(help="A note, kept with the verdict.")]


@takes_app.command(rich_help_panel=PANEL)
def takes(clip: Clip, as_json: Json = False) -> None:
    """Show the takes of a clip: verdict, model, age, cost. `*` is the current one."""
    from pipelines.cli.takes import document, one_model, read_takes, table
    from resources.settings import load_settings

    clip_takes = read_takes(load_settings(), clip)
    if as_json:
        print_json(document(clip_takes))
        return
    if clip_takes.takes:
        print_table(table(clip_takes, now=time.time()))
        if (model := one_model(clip_takes)) is not None:
            tell(f"made by {model}")
    if clip_takes.open:
        states = ", ".join(attempt.state for attempt in clip_takes.open)
        tell(f"on the way: {counted(len(clip_takes.open), 'take')} ({states})")
    elif not clip_takes.takes:
        tell(f"{clip} has no take yet")


@takes_app.command(name="circle", rich_help_panel=PANEL)
def circle_take(
    clip: Clip,
    take: Named = None,
    note: Note = "",
    finish: Annotated[
        bool, typer.Option("--finish/--no-finish", help="Whether the circle of a draft buys its finish.")
    ] = True,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Choose a take: it becomes the clip's current one. A draft's finish is bought, after a question; nothing else costs anything."""
    from pipelines.cli.takes import TypedVerdict
    from resources.ledger.verdicts import Word

    _give(TypedVerdict(clip, take, Word.CIRCLED, note=note), as_json=as_json, finish=finish, yes=yes)


@takes_app.command(rich_help_panel=PANEL)
def finish(
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...",
            help="Keys of clips. By default every circled draft without a finish.",
            autocompletion=complete_key,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Only show them; order nothing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Buy the finishes of circled drafts that lack one, after showing their prices."""
    from pipelines.cli.declared import declared_limits
    from pipelines.cli.finishes import (
        document,
        offered,
        order_all,
        ordered_document,
        ordered_words,
        table,
    )
    from pipelines.cli.stack_settings import running_settings
    from resources.settings import open_ledger

    settings = running_settings()
    with open_ledger(settings) as ledger:
        limits = declared_limits(settings, ledger)
        offers = offered(ledger, clips or [], limits)
        if offers and not as_json:
            print_table(table(offers, now=ledger.clock()))
        orders = [] if show else order_all(ledger, offers, limits, yes=yes)
    if as_json:
        print_json(
            {
                "waiting": [document(one) for one in offers],
                "ordered": [ordered_document(one) for one in orders],
            }
        )
    elif not offers:
        tell("no circled draft lacks its finish")
    for one in [] if as_json else orders:
        tell(ordered_words(one))


@takes_app.command(rich_help_panel=PANEL)
def reject(
    clip: Clip,
    take: Named = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(
            help="Why, from data/review.yaml, e.g. hands; may be repeated. A note may say it instead."
        ),
    ] = None,
    note: Note = "",
    as_json: Json = False,
) -> None:
    """Say that a take is not good, and why. Buys nothing."""
    from pipelines.cli.takes import TypedVerdict
    from resources.ledger.verdicts import Word

    _give(TypedVerdict(clip, take, Word.REJECTED, reason or [], note), as_json=as_json)


@takes_app.command(name="take-back", rich_help_panel=PANEL)
def take_back(clip: Clip, take: Named = None, note: Note = "", as_json: Json = False) -> None:
    """Take back the verdict on a take."""
    from pipelines.cli.takes import TypedVerdict
    from resources.ledger.verdicts import Word

    _give(TypedVerdict(clip, take, Word.TAKEN_BACK, note=note), as_json=as_json)


@takes_app.command(rich_help_panel=PANEL)
def edit(
    clip: Clip,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="Other words for a field of the prompt; may be repeated."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Another prompt, instead of the whole one.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Give the clip its series' words back.")] = False,
    as_json: Json = False,
) -> None:
    """Give one clip other words than its series, in data/edits; without an option, show them. Buys nothing."""
    import getpass

    from pipelines.cli.declared import editor_of
    from pipelines.cli.word_changes import document, parse_fields, show_words
    from resources.errors import ConfigurationError
    from resources.settings import load_settings
    from resources.shared_data.source import unpushed

    if sum((bool(field), text is not None, remove)) > 1:
        raise ConfigurationError("give --field, --text or --remove, one of them. Nothing was changed.")
    settings = load_settings()
    editor = editor_of(settings)
    clip_words = editor.look(clip)
    if field:
        fields = parse_fields(field)
        base = clip_words.words if isinstance(clip_words.words, dict) else clip_words.own
        words = {**base, **fields} if isinstance(base, dict) else fields
        clip_words = editor.keep(clip, words, who=getpass.getuser(), seen=clip_words.seen)
    elif text is not None or remove:
        clip_words = editor.keep(clip, text, who=getpass.getuser(), seen=clip_words.seen)
    if as_json:
        print_json(document(clip_words))
    else:
        changed = bool(field) or text is not None or remove
        push = unpushed(settings) if changed else None
        show_words(clip_words, changed=changed, push=push)


@takes_app.command(rich_help_panel=PANEL)
def retake(
    clip: Clip,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Buy one more take of a clip, after showing its price and the caps."""
    from pipelines.cli.approval import agree
    from pipelines.cli.retakes import buy_retake, offer_retake
    from pipelines.cli.stack_settings import running_settings
    from pipelines.cli.usage import before_buying
    from resources.money import show_usd, to_usd

    with before_buying():
        settings = running_settings()
        offer = offer_retake(settings, clip)
    if offer.refusal is None:
        for cap in offer.caps:
            complain(
                f"{cap.name}: {show_usd(cap.spent)} spent, {show_usd(cap.with_it)} with it, of {show_usd(cap.cap)}"
            )
        agree(f"buy one more take of {clip} from {offer.endpoint} for {offer.price}", yes=yes)
    launched = buy_retake(settings, offer)
    if as_json:
        print_json(
            {
                "clip": clip,
                "decision": launched.decision,
                "runs": launched.runs,
                "price_usd": str(to_usd(offer.floor)),
                "at_most_usd": str(to_usd(offer.ceiling)),
            }
        )
    else:
        tell(f"one more take of {clip} is requested; `dailies takes {clip}` shows it")


@takes_app.command(rich_help_panel=PANEL)
def fetch(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder; made if it is not there.")],
    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...",
            autocompletion=complete_selector,
            help=f"{CLIPS} By default every clip.",
        ),
    ] = None,
    all_takes: Annotated[
        bool, typer.Option("--all-takes", help="Every delivered take, also rejected and spare ones.")
    ] = False,
    otio: Annotated[
        bool,
        typer.Option("--otio", help="Write timelines of the selects: OpenTimelineIO, EDL, Final Cut XML."),
    ] = False,
    sign: Annotated[
        bool,
        typer.Option("--sign", help="Make copies with content credentials, signed by your certificate."),
    ] = False,
    mark: Annotated[
        bool, typer.Option("--mark", help="Make copies with XMP that says that they are AI-made.")
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Certificates in PEM, yours first; default DAILIES_SIGN_CERTIFICATE."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its private key in PEM; default DAILIES_SIGN_KEY.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy circled takes into a folder, with manifests, a contact sheet and SHA-256 digests. Buys nothing."""
    from pipelines.cli.fetch import Extras, document, show
    from pipelines.cli.fetch import fetch as fetch_clips
    from resources.export.signing_identity import read_identity
    from resources.settings import load_settings

    settings = load_settings()
    identity = (
        read_identity(certificate or settings.sign_certificate, key or settings.sign_key) if sign else None
    )
    extras = Extras(timelines=otio, marks=sign or mark, identity=identity)
    result = fetch_clips(settings, selectors or [], to, every=all_takes, extras=extras)
    if as_json:
        print_json(document(result))
    else:
        show(result)
    raise typer.Exit(result.exit_code)


@takes_app.command(rich_help_panel=PANEL)
def disclosure(
    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...", autocompletion=complete_selector, help=f"{CLIPS} By default every clip."
        ),
    ] = None,
    all_takes: Annotated[
        bool, typer.Option("--all-takes", help="Every delivered take, also rejected and spare ones.")
    ] = False,
    as_csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - prints it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what each select says of its making: content credentials, signer, source type. Facts, not a legal opinion."""
    from pipelines.cli.disclosure import disclose, document, table, write_csv
    from resources.settings import load_settings

    disclosed = disclose(load_settings(), selectors or [], every=all_takes)
    if as_csv is not None:
        written = write_csv(disclosed, as_csv)
        if as_csv != "-":
            tell(f"{written} lines are in {as_csv}")
    elif as_json:
        print_json(document(disclosed))
    else:
        print_table(table(disclosed))


class By(StrEnum):
    """What each line of `dailies yield` sums up."""

    SERIES = "series"
    MODEL = "model"
    DAY = "day"
    WAY = "way"
    PROMPT = "prompt"


@takes_app.command(name="yield", rich_help_panel=PANEL)
def show_yield(
    by: Annotated[By, typer.Option(help="One line for each of these.")] = By.SERIES,
    series: Annotated[str | None, typer.Option(help="Only this series.")] = None,
    since: Annotated[
        dt.datetime | None,
        typer.Option(parser=a_day, metavar="YYYY-MM-DD", help="Only what was bought since this day."),
    ] = None,
    as_csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - prints it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what purchases were worth: circled and rejected takes, and dollars for each select."""
    from pipelines.cli.yields import document, table, write_csv
    from resources.ledger.yields import YieldBy, read_yield
    from resources.settings import load_settings, open_ledger

    chosen = YieldBy(by.value)
    with open_ledger(load_settings()) as ledger:
        lines = read_yield(ledger, chosen, series=series, since=since.date().isoformat() if since else None)
    if as_csv is not None:
        written = write_csv(lines, as_csv)
        if as_csv != "-":
            tell(f"{written} lines are in {as_csv}")
    elif as_json:
        print_json(document(lines, chosen))
    elif lines:
        print_table(table(lines, chosen))
    elif chosen is YieldBy.PROMPT:
        tell("nothing was bought whose prompt was declared as fields (docs/series.md)")
    elif series is not None or since is not None:
        tell("nothing of that was bought")
    else:
        tell("nothing was bought yet")


@takes_app.command(rich_help_panel=PANEL)
def room(
    port: Annotated[int, typer.Option(help="Its port; 0 picks one.", min=0, max=65535)] = 0,
    host: Host = "127.0.0.1",
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
) -> None:
    """Judge takes in a browser, until Ctrl-C. `dailies up` serves the room too."""
    from pipelines.cli.room import show_room
    from pipelines.cli.stack_settings import running_settings

    show_room(
        running_settings(),
        port=port,
        host=host,
        open_it=open_it,
        say=lambda url: tell(f"the room is open at {url} until Ctrl-C"),
    )


def _give(typed: "TypedVerdict", *, as_json: bool, finish: bool = False, yes: bool = False) -> None:
    from pipelines.cli.stack_settings import running_settings
    from pipelines.cli.takes import document, give_verdict, outcome, verdict_document

    given = give_verdict(running_settings(), typed, finish=finish, yes=yes)
    if as_json:
        print_json({"verdict": verdict_document(given.judged.recorded), **document(given.found)})
    else:
        tell(outcome(given))
