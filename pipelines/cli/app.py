"""The commands. Each is thin: it reads what the person said, calls the module that does it, and shows the result.

Exit codes: 0 all good, 1 some clips failed, 2 something declared or set is wrong, 3 something does not answer.
"""

import datetime as dt
import signal
import time
from typing import Annotated

import typer
from rich.text import Text

from pipelines.cli.characters import characters_app
from pipelines.cli.ledger import ledger_app
from pipelines.cli.models import models_app
from pipelines.cli.output import as_document, complain, console, counted, print_json, status_table
from resources.settings import Settings, load_settings

app = typer.Typer(
    name="dailies",
    help="Declarative AI-video production on Dagster: every clip bought once, kept in your own bucket.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(ledger_app, name="ledger")
app.add_typer(characters_app, name="characters")
app.add_typer(models_app, name="models")

Json = Annotated[bool, typer.Option("--json", help="Print the machine's form.")]
Port = Annotated[int, typer.Option(help="Port of Dagster's UI on 127.0.0.1.", min=1, max=65535)]


@app.command()
def up(
    port: Port = 3000,
    job_seconds: Annotated[float, typer.Option(help="How long the sandbox's jobs take.", min=0)] = 8.0,
) -> None:
    """Start everything on this machine, until Ctrl-C. What is not set in .env is stood in for."""
    from pipelines.cli.stack import Stack, Wanted

    wanted = Wanted(
        port=port,
        sandbox_options=["--job-seconds", str(job_seconds)],
        log=lambda text: console.print(f"… {text}"),
    )
    _end_on_signals()
    settings = load_settings()
    with Stack(settings, wanted) as stack:
        console.print()
        console.print(f"Dagster    {stack.dagster_url}")
        console.print(
            f"providers  {stack.sandbox_url + ' (sandbox: costs nothing)' if stack.sandbox_url else 'as set in .env'}"
        )
        console.print(
            f"bucket     {stack.environment.get('DAILIES_S3_ENDPOINT', 'AWS')} {stack.environment.get('DAILIES_S3_BUCKET') or settings.s3_bucket}"
        )
        console.print("Schedules are off until you turn them on. Ctrl-C ends everything.\n")
        try:
            while True:
                stack.check()
                stack.tend()
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("ending")


@app.command()
def demo(
    port: Port = 3000,
    job_seconds: Annotated[float, typer.Option(help="How long the sandbox's jobs take.", min=0)] = 8.0,
) -> None:
    """Produce the twelve clips of the sample series on the sandbox: no key, no money."""
    from pipelines.cli.demo import run_demo

    _end_on_signals()
    raise typer.Exit(run_demo(load_settings(), port=port, job_seconds=job_seconds))


@app.command()
def produce(
    series: Annotated[str, typer.Argument(help="Name of the series.")],
    date: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Date of a dated series; today if left out."),
    ] = None,
    clip: Annotated[
        list[str] | None, typer.Option(help="Only this clip, by name or key; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the clips are delivered.")] = False,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Buy another take of delivered, unchanged clips.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Buy the clips of a series. Without --wait the completion sensor collects them."""
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.launching import clips_of, dagster_url, declarations_of, launch

    settings = load_settings()
    keys = clips_of(declarations_of(settings), series, date.date() if date else None, clip or [])
    job = "produce_clips" if wait else "submit_clips"
    with DagsterApi(dagster_url(settings)) as api:
        launched = launch(
            settings, api, keys, job=job, command="produce", series=series, regenerate=regenerate
        )
        _finish(settings, api, launched, wait=wait, as_json=as_json)


@app.command()
def retry(
    clips: Annotated[
        list[str] | None, typer.Argument(help="Keys of failed clips; all of them if left out.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Only failed clips of this series.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the clips are delivered.")] = False,
    as_json: Json = False,
) -> None:
    """Buy failed clips again, all or some; scattered ones go in one run. It is a new decision."""
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.launching import Launched, dagster_url, failed_clips, launch
    from resources.ledger.ledger import Ledger

    settings = load_settings()
    with Ledger(settings.ledger_url) as ledger:
        keys = failed_clips(ledger, series=series, names=clips or [])
    if not keys:
        if as_json:
            print_json({"decision": None, "runs": [], "clips": []})
        else:
            console.print("no clip has failed; there is nothing to try again")
        return
    with DagsterApi(dagster_url(settings)) as api:
        launched: Launched = launch(settings, api, keys, job="produce_clips", command="retry", scattered=True)
        _finish(settings, api, launched, wait=wait, as_json=as_json)


@app.command()
def status(
    series: Annotated[str | None, typer.Option(help="Only this series.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only clips that came to nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Show every clip: its state, endpoint, age, cost, and where it is."""
    from pipelines.cli.ledger import orphans_in_words
    from resources.ledger import halting
    from resources.ledger.ledger import Ledger
    from resources.ledger.orphans import orphans
    from resources.ledger.states import AttemptState
    from resources.money import show_usd

    settings = load_settings()
    with Ledger(settings.ledger_url) as ledger:
        attempts = ledger.overview(series=series)
        nobodys = orphans(ledger)
        stops = halting.stops(ledger)
    for stopped in stops:
        # on stderr, so that it is seen beside the machine's form too
        complain(str(stopped))
    if failed:
        attempts = [a for a in attempts if not a.state.is_open and a.state is not AttemptState.DELIVERED]
    if as_json:
        print_json([as_document(attempt) for attempt in attempts])
        return
    if not attempts:
        console.print("no clips yet; `dailies produce SERIES` asks for some")
        return
    console.print(status_table(attempts))
    delivered = sum(a.state is AttemptState.DELIVERED for a in attempts)
    total = sum(a.cost_micros for a in attempts)
    console.print(f"\n{delivered} of {len(attempts)} delivered, {show_usd(total)} in their newest takes")
    for line in orphans_in_words(nobodys, settings):
        console.print(Text(f"{line}: `dailies ledger orphans`"))


@app.command()
def resolve(
    clip: Annotated[
        str | None, typer.Argument(help="The clip to settle; without one, all are listed.")
    ] = None,
    adopt: Annotated[str | None, typer.Option(metavar="JOB", help="This job is the clip's.")] = None,
    resubmit: Annotated[
        bool, typer.Option("--resubmit", help="There is no job: buy the clip again.")
    ] = False,
    write_off: Annotated[bool, typer.Option("--write-off", help="Give the clip up.")] = False,
    why: Annotated[str | None, typer.Option(help="What the journal says of it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Show the clips of which it could not be proved whether they were bought, and settle one."""
    from pipelines.cli.resolve import consequence, look_at_job, settle, unsettled_document, unsettled_table
    from pipelines.cli.running import running_settings
    from resources.ledger.ledger import Ledger
    from resources.ledger.resolving import unsettled

    settings = running_settings()
    with Ledger(settings.ledger_url, budget=settings.budget) as ledger:
        found = unsettled(ledger, clip=clip)
        if clip is not None and (adopt is not None or resubmit or write_off):
            seen = look_at_job(settings, found[-1], adopt) if found and adopt is not None else ""
            question = consequence(found, adopt=adopt, resubmit=resubmit, seen=seen) if found else ""
            if found and not yes:
                typer.confirm(question, abort=True)
            changed = settle(ledger, clip, adopt=adopt, resubmit=resubmit, write_off=write_off, why=why)
            if as_json:
                print_json([as_document(attempt) for attempt in changed])
            else:
                console.print(status_table(changed))
            return
        if adopt is not None or resubmit or write_off:
            raise typer.BadParameter("name the clip to settle")
        if as_json:
            print_json(unsettled_document(found, now=ledger.clock()))
        elif found:
            console.print(unsettled_table(found, now=ledger.clock()))
        else:
            console.print("nothing is unknown or held")


@app.command()
def gallery(
    open_it: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1 to show a remote bucket at; 0 picks one.", min=0, max=65535)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write the gallery's pages anew and say where they are: every clip, to be played, with its cost and checks."""
    from pipelines.cli.gallery import show_gallery

    _end_on_signals()
    show_gallery(load_settings(), open_it=open_it, port=port, as_json=as_json)


@app.command(name="accept")
def accept_clip(
    clip: Annotated[
        str | None, typer.Argument(help="The clip to accept; without one, all that wait are listed.")
    ] = None,
    take: Annotated[
        str | None, typer.Option(metavar="ID", help="Which take of the clip; the newest if left out.")
    ] = None,
    why: Annotated[str, typer.Option(help="What the manifest and the journal say of it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Show the clips that failed a check, and deliver one all the same. Costs nothing."""
    from pipelines.cli.accept import accept_take, chosen, document, table, waiting

    settings = load_settings()
    found = waiting(settings, clip)
    if clip is None:
        if as_json:
            print_json(document(found))
        elif found:
            console.print(table(found, now=time.time()))
        else:
            console.print("nothing is in quarantine")
        return
    attempt = chosen(found, clip, take)
    if not yes:
        typer.confirm(f"Deliver {clip} although {attempt.reason}?", abort=True)
    accepted = accept_take(settings, attempt, why)
    if as_json:
        print_json(as_document(accepted))
    else:
        console.print(status_table([accepted]))


@app.command()
def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; mend nothing.")] = False,
    alarm: Annotated[bool, typer.Option("--alarm", help="Only try whether alarms arrive.")] = False,
    as_json: Json = False,
) -> None:
    """Take stock of ledger, bucket and Dagster, and mend what can be mended. Buys nothing."""
    from pipelines.cli.doctor import document, examine, show, try_alarm
    from pipelines.cli.running import running_settings

    settings = running_settings()
    if alarm:
        try_alarm(settings)
        return
    done = examine(settings, mend=not dry_run)
    if as_json:
        print_json(document(done))
    else:
        show(done)
    raise typer.Exit(0 if done.is_fine else 1)


@app.command()
def webhooks(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8790,
) -> None:
    """Take WaveSpeed's callbacks, until Ctrl-C. Optional: they make lost answers certain and polls prompt."""
    from resources.webhooks.serving import serve

    _end_on_signals()
    serve(load_settings(), port=port)


@app.command()
def stop(
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it stopped.")] = "a person stopped it",
    account: Annotated[str | None, typer.Option(help="Only this account, e.g. wavespeed.")] = None,
) -> None:
    """Halt all buying at once. What is at the providers is still asked for and fetched; the queue is kept."""
    from pipelines.cli.switching import stop_buying

    stop_buying(load_settings(), account, reason)


@app.command()
def start(
    account: Annotated[str | None, typer.Option(help="Only this account, e.g. wavespeed.")] = None,
) -> None:
    """Let buying go on after `dailies stop`, or after an account's bill was higher than its quote."""
    from pipelines.cli.switching import start_buying

    start_buying(load_settings(), account)


@app.command()
def plan(
    series: Annotated[
        list[str] | None, typer.Argument(help="Names of series; every schedule that comes up if left out.")
    ] = None,
    date: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The date; today if left out.")
    ] = None,
    until: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last date of a range.")
    ] = None,
    clip: Annotated[
        list[str] | None, typer.Option(help="Only this clip, by name or key; may be repeated.")
    ] = None,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="As `produce --regenerate` would do it.")
    ] = False,
    quote: Annotated[
        bool, typer.Option("--quote", help="Ask the providers for their prices, which is free.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every clip, however many.")] = False,
    as_json: Json = False,
) -> None:
    """Show what would be bought, reused, adopted, held or refused, and what it would cost. Buys nothing."""
    from pipelines.cli.plan import document, exit_code, make, show
    from pipelines.cli.running import running_settings

    made = make(
        running_settings(),
        series or [],
        since=date.date() if date else None,
        until=until.date() if until else None,
        clips=clip or [],
        regenerate=regenerate,
        quote=quote,
    )
    if as_json:
        print_json(document(made))
    else:
        show(made, everything=everything)
    raise typer.Exit(exit_code(made))


@app.command()
def prompt(
    key: Annotated[str, typer.Argument(help="The clip's key, e.g. city-sunset-2026-11-20-hero.")],
    as_json: Json = False,
) -> None:
    """Show a clip's request as it would be sent: the rendered prompt, every parameter, the price. Sends nothing."""
    from pipelines.cli.launching import declarations_of
    from pipelines.cli.prompt import document, show

    declarations = declarations_of(load_settings())
    request = declarations.render(declarations.find(key))
    if as_json:
        print_json(document(request))
    else:
        show(request)


@app.command()
def check() -> None:
    """Check everything that is declared in the data folder. Sends nothing."""
    from pipelines.cli.launching import declarations_of
    from resources.catalogue import Catalogue

    settings = load_settings()
    problems = [*Catalogue.load(settings.data / "models").problems, *declarations_of(settings).problems]
    for problem in problems:
        complain(str(problem))
    declared = declarations_of(settings).series
    today = dt.datetime.now(dt.UTC).date()
    for series in declared.values():
        warning = series.endpoint.lifecycle.warning(today)
        if warning is not None and not series.declaration.allow_retired:
            complain(f"{series.name}: {series.endpoint.id} {warning}")
    console.print(Text(f"{len(declared)} series are fine, {len(problems)} problems"))
    raise typer.Exit(2 if problems else 0)


@app.command(name="verify-provider")
def verify_provider(
    account: Annotated[str, typer.Argument(help="wavespeed or aimlapi.")],
    endpoint: Annotated[str | None, typer.Option(help="Buy this one; the cheapest if left out.")] = None,
    allow_retired: Annotated[
        bool, typer.Option("--allow-retired", help="Buy an endpoint that was retired, too.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the job.", min=1)] = 1200.0,
    settle: Annotated[
        float, typer.Option(help="Seconds to wait for the listing and the bill, once it has ended.", min=0)
    ] = 180.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Buy one cheapest job, and report how the live service differs from its documentation. Ends with 1 if it does."""
    from pipelines.cli.running import running_settings
    from pipelines.cli.verifying import Wanted, print_document, show, verify

    def ask(question: str) -> None:
        if not yes:
            typer.confirm(question, abort=True, err=True)

    wanted = Wanted(account, endpoint, allow_retired, wait, settle)
    report = verify(
        running_settings(),
        wanted,
        ask=ask,
        say=lambda text: None if as_json else console.print(Text(text)),
    )
    if as_json:
        print_document(report)
    else:
        show(report)
    raise typer.Exit(1 if report.differs else 0)


def _end_on_signals() -> None:
    """Let SIGTERM end the command as Ctrl-C does, and Ctrl-C end it where a shell told it to ignore it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _finish(settings: Settings, api: object, launched: object, *, wait: bool, as_json: bool) -> None:
    """Show what was asked for; with `wait`, what came of it, and end with 1 when clips failed."""
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.launching import Launched, unsuccessful, wait_for
    from resources.ledger.states import AttemptState

    if not isinstance(api, DagsterApi) or not isinstance(launched, Launched):
        raise TypeError("needs the running Dagster and what was asked of it")
    document = {"decision": launched.decision, "runs": launched.runs, "clips": launched.keys}
    if not wait:
        if as_json:
            print_json(document)
        else:
            console.print(
                f"asked for {counted(len(launched.keys), 'clip')} in {counted(len(launched.runs), 'run')}: {api.url}/runs"
            )
        return
    newest = wait_for(api, settings, launched, quiet=as_json)
    delivered = [a for a in newest.values() if a.state is AttemptState.DELIVERED]
    broken = unsuccessful(api, launched)
    if as_json:
        print_json(
            {
                **document,
                "results": [as_document(a) for a in newest.values()],
                "failed_runs": {run: api.why_failed(run) for run in broken},
            }
        )
    else:
        if newest:
            console.print(status_table(newest.values()))
        for run in broken:
            complain(f"{api.why_failed(run)}\n(run {api.url}/runs/{run})")
    if broken or len(delivered) < len(launched.keys):
        raise typer.Exit(1)
