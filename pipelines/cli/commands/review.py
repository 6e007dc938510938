"""Commands that show clips, and settle what needs a person: status, gallery, inspect, accept, resolve."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.completion import complete_key, complete_selector, complete_series
from pipelines.cli.signals import end_on_signals
from pipelines.cli.terminal import (
    CLIPS,
    Json,
    Long,
    complain,
    confirm,
    note,
    print_json,
    print_table,
    tell,
)

review_app = typer.Typer()
PANEL = "See and settle"


class YesNo(StrEnum):
    """An answer that may also be left open."""

    YES = "yes"
    NO = "no"


@review_app.command(rich_help_panel=PANEL)
def status(
    selectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLIPS]...", autocompletion=complete_selector, help=f"{CLIPS} By default every clip."
        ),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Only this series.", autocompletion=complete_series)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed clips.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every clip.")] = False,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """Show clips with state, age and cost: what is open, what failed, and the newest 50 of the delivered.

    With --long, endpoint and place too. CLIPS and --all leave nothing out.
    """
    from pipelines.cli.failed_runs import barren_runs
    from pipelines.cli.ledger import orphans_in_words
    from pipelines.cli.status import (
        clips_shown,
        print_status,
        print_status_json,
        refusal_of_empty,
        refused_in_words,
        undelivered_in_words,
    )
    from resources.declared.problems import nearest
    from resources.ledger import stops
    from resources.ledger.lost.orphans import orphans
    from resources.ledger.pauses import pauses
    from resources.settings import load_settings, open_ledger

    settings = load_settings()
    with open_ledger(settings) as ledger:
        shown = clips_shown(ledger, selectors or [], series=series, failed=failed, every=every)
        orphan_lines = orphans_in_words(orphans(ledger), ledger)
        runs = barren_runs(settings, ledger)
        notices = (
            *stops.stops(ledger),
            *refused_in_words(ledger),
            *undelivered_in_words(ledger),
            *pauses(ledger),
            *(run for run in runs if run.why is not None),
        )
        for notice in notices:
            # on standard error, to keep it out of JSON
            complain(str(notice))
        if not (shown.ids or selectors or series or failed) and (why := refusal_of_empty(settings, ledger)):
            complain(why)
        waiting = [str(run) for run in runs if run.why is None]
        for line in waiting:
            note(line)
        if as_json:
            print_status_json(ledger, shown)
        elif shown.ids:
            print_status(ledger, shown, long=long)
            for line in orphan_lines:
                tell(f"{line}: `dailies ledger orphans`")
        elif failed:
            tell("no clip has failed")
        elif selectors:
            declared = complete_series("")
            # a declared series may have bought nothing yet
            hint = "" if len(selectors) > 1 or selectors[0] in declared else nearest(selectors[0], declared)
            said = "; ".join(filter(None, (f"{' '.join(selectors)} chooses no clip that was bought", hint)))
            tell(said)
        elif not waiting:
            tell("no clips yet; `dailies produce SERIES` asks for some")


@review_app.command(rich_help_panel=PANEL)
def gallery(
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1 for a remote bucket; 0 picks one.", min=0, max=65535)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write all pages of the gallery and show where they are: every clip to play, with its cost and checks."""
    from pipelines.cli.gallery import show_gallery
    from resources.settings import load_settings

    end_on_signals()
    show_gallery(load_settings(), open_it=open_it, port=port, as_json=as_json)


@review_app.command(rich_help_panel=PANEL)
def inspect(
    files: Annotated[list[Path], typer.Argument(help="MP4s on this machine.", exists=True, dir_okay=False)],
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Use the request and the checks of this clip.", autocompletion=complete_key
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="Pixels, e.g. 1280x720, or a shape, e.g. 16:9.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds.", min=0.01)] = None,
    audio: Annotated[YesNo | None, typer.Option(help="Whether there should be sound.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.", min=0.01)] = None,
    as_json: Json = False,
) -> None:
    """Show what a delivery would find in a file: facts, time line, every check. Exits with 1 if a check fails."""
    from pipelines.cli.declared import declarations_of
    from pipelines.cli.inspection import document, inspect_files, request_for, show
    from resources.errors import ConfigurationError
    from resources.settings import load_settings

    if clip is not None:
        if any(one is not None for one in (size, duration, audio, fps)):
            raise ConfigurationError(
                "--clip already gives the request: leave out --size, --duration, --audio and --fps"
            )
        declarations = declarations_of(load_settings())
        request = declarations.render(declarations.find(clip))
    else:
        request = request_for(size, duration, None if audio is None else audio is YesNo.YES, fps)
    inspected = inspect_files(files, request)
    if as_json:
        print_json([document(one) for one in inspected])
    else:
        for one in inspected:
            show(one)
    raise typer.Exit(int(any(one.failed for one in inspected)))


@review_app.command(name="accept", rich_help_panel=PANEL)
def accept_clip(
    clip: Annotated[
        str | None,
        typer.Argument(
            help="The clip to accept; without one, all in quarantine are listed.", autocompletion=complete_key
        ),
    ] = None,
    take: Annotated[
        str | None, typer.Option(metavar="ID", help="Which take of the clip; by default the newest.")
    ] = None,
    why: Annotated[str, typer.Option(help="The reason, for the manifest and the journal.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """Show the clips that failed a check, and deliver one despite it. Costs nothing."""
    from pipelines.cli.accept import accept_take, chosen, document, table, waiting
    from pipelines.cli.clip_table import as_document, show_clips
    from resources.settings import load_settings

    settings = load_settings()
    quarantined = waiting(settings, clip)
    if clip is None:
        if as_json:
            print_json(document(quarantined))
        elif quarantined:
            print_table(table(quarantined, now=time.time(), long=long))
        else:
            tell("nothing is in quarantine")
        return
    attempt = chosen(quarantined, clip, take)
    if not yes:
        confirm(f"Deliver {clip} although {attempt.reason}?")
    accepted = accept_take(settings, attempt, why)
    if as_json:
        print_json(as_document(accepted))
    else:
        show_clips([accepted])


@review_app.command(rich_help_panel=PANEL)
def resolve(
    clip: Annotated[
        str | None,
        typer.Argument(help="The clip to settle; without one, all are listed.", autocompletion=complete_key),
    ] = None,
    adopt: Annotated[str | None, typer.Option(metavar="JOB", help="This job is the clip's.")] = None,
    resubmit: Annotated[bool, typer.Option("--resubmit", help="No job exists: buy the clip again.")] = False,
    write_off: Annotated[bool, typer.Option("--write-off", help="Give the clip up.")] = False,
    why: Annotated[str | None, typer.Option(help="The reason, for the journal.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Show the clips whose purchase could not be proved, and settle one.

    `--write-off` also gives up a job that runs far longer than its model should.
    """
    from pipelines.cli.clip_table import as_document, show_clips
    from pipelines.cli.resolve import (
        Settlement,
        look_at_job,
        print_unsettled,
        question,
        settle_clip,
        unsettled_document,
    )
    from pipelines.cli.stack_settings import running_settings
    from resources.errors import ConfigurationError
    from resources.ledger.lost.settle import unsettled
    from resources.ledger.outcomes import expire_submissions
    from resources.settings import open_ledger

    settings = running_settings()
    with open_ledger(settings) as ledger:
        for account in settings.account_names:
            # without a running sensor, nothing else marks the POSTs of dead processes as unknown
            expire_submissions(ledger, account)
        open_posts = unsettled(ledger, clip=clip)
        if clip is not None and (adopt is not None or resubmit or write_off):
            seen = look_at_job(settings, open_posts[-1], adopt) if open_posts and adopt is not None else ""
            settlement = Settlement(clip, adopt, resubmit, write_off, why)
            asked = question(ledger, settlement, open_posts, job_state=seen)
            if asked and not yes:
                confirm(asked)
            elif asked:
                complain(f"{asked} Yes (--yes).")
            changed = settle_clip(ledger, settlement)
            if as_json:
                print_json([as_document(attempt) for attempt in changed])
            else:
                show_clips(changed)
            return
        if adopt is not None or resubmit or write_off:
            raise typer.BadParameter("name the clip to settle")
        if as_json:
            print_json(unsettled_document(open_posts, now=ledger.clock()))
        elif open_posts:
            print_unsettled(ledger, open_posts)
        elif clip is not None:
            raise ConfigurationError(
                f"{clip} is neither unknown nor held. Nothing was changed. `dailies resolve` lists the clips that are."
            )
        else:
            tell("nothing is unknown or held")
