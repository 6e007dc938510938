"""Commands that run dailies: init, up, demo, doctor, logs, webhooks, stop, start, key, verify-provider."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.signals import end_on_signals
from pipelines.cli.terminal import Host, Json, Yes, complain, print_json, progress, say, tell

operations_app = typer.Typer()
PANEL = "Run"
LOOK_SECONDS = 3.0
"""How often `dailies up` checks its processes, in seconds."""
Port = Annotated[int, typer.Option(help="Port of Dagster's UI.", min=1, max=65535)]


@operations_app.command(rich_help_panel=PANEL)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one without these files.")],
    location: Annotated[
        str, typer.Option(help="The name of the code location, for a Dagster with other code locations.")
    ] = "dailies",
    prefix: Annotated[
        str, typer.Option(help="The prefix of the assets' names, e.g. `video`; by default none.")
    ] = "",
) -> None:
    """Create a folder for your own series: data, settings, Dagster's files, a CI workflow. Overwrites nothing."""
    from pipelines.cli.init import SERIES, lay_out
    from resources.dagster_names import names_of

    written = lay_out(folder, names_of(location=location, prefix=prefix))
    tell(f"{len(written)} files are in {folder.resolve()}")
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder}; "
    tell(
        f"Next: {there}dailies check; dailies plan; dailies up. Without keys in .env the sandbox is used, and nothing "
        f"costs money. Edit {SERIES}."
    )


@operations_app.command(rich_help_panel=PANEL)
def up(
    port: Port = 3000,
    host: Host = "127.0.0.1",
    job_seconds: Annotated[float, typer.Option(help="How long the sandbox's jobs take.", min=0)] = 8.0,
    faults: Annotated[
        Path | None,
        typer.Option(
            help="A script of faults for the sandbox (docs/sandbox.md).", exists=True, dir_okay=False
        ),
    ] = None,
) -> None:
    """Start everything on this machine, until Ctrl-C. Without keys or a bucket in .env, stand-ins are used."""
    from pipelines.cli.bucket import refusal_of_bucket
    from pipelines.cli.stack import Stack, StackOptions
    from resources.errors import DailiesError
    from resources.settings import load_settings, open_ledger

    script = ["--faults", str(faults)] if faults is not None else []
    options = StackOptions(
        port=port,
        host=host,
        sandbox_options=["--job-seconds", str(job_seconds), *script],
        log=progress,
    )
    end_on_signals()
    settings = load_settings()
    with Stack(settings, options) as stack:
        bucket = stack.environment.get("DAILIES_S3_BUCKET") or settings.s3_bucket
        say(
            "",
            f"Dagster    {stack.dagster_url}",
            f"the room   {stack.room_url}",
            f"providers  {stack.sandbox_url + ' (sandbox: costs nothing)' if stack.sandbox_url else 'as set in .env'}",
            f"bucket     {stack.environment.get('DAILIES_S3_ENDPOINT') or settings.s3_endpoint or 'AWS'} {bucket}",
            "Schedules are off until you turn them on. Ctrl-C stops everything.",
            "",
        )
        # if the bucket does not answer, the first process that needs it reports that
        with suppress(DailiesError), open_ledger(settings) as ledger:
            if why := refusal_of_bucket(settings, ledger):
                complain(f"nothing is bought: {why}")
        try:
            while True:
                stack.tend()
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            say("ending")


@operations_app.command(rich_help_panel=PANEL)
def demo(
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of Dagster's UI on 127.0.0.1; by default 3000, or a free one.", min=1, max=65535
        ),
    ] = None,
    job_seconds: Annotated[float, typer.Option(help="How long the sandbox's jobs take.", min=0)] = 8.0,
) -> None:
    """Produce a day of the sample series on the sandbox: no key, no money."""
    from pipelines.cli.demo import run_demo
    from resources.settings import load_settings

    end_on_signals()
    raise typer.Exit(run_demo(load_settings(), port=port, job_seconds=job_seconds))


@operations_app.command(rich_help_panel=PANEL)
def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; repair nothing.")] = False,
    alarm: Annotated[bool, typer.Option("--alarm", help="Only send a test alarm.")] = False,
    bucket: Annotated[
        bool,
        typer.Option(
            "--bucket", help="Only try the bucket with the requests of a delivery, on small objects."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check ledger, bucket and Dagster, and repair what can be repaired. Buys nothing."""
    from pipelines.cli.doctor import document, examine, show, try_alarm
    from pipelines.cli.stack_settings import running_settings

    settings = running_settings()
    if alarm:
        try_alarm(settings)
        return
    if bucket:
        from pipelines.cli.bucket_trial import bucket_document, examine_bucket, show_bucket

        place, trial = examine_bucket(settings)
        if as_json:
            print_json(bucket_document(place, trial))
        else:
            show_bucket(place, trial)
        raise typer.Exit(1 if trial.missing else 0)
    done = examine(settings, repair=not dry_run)
    if as_json:
        print_json(document(done))
    else:
        show(done)
    raise typer.Exit(0 if done.is_fine else 1)


@operations_app.command(rich_help_panel=PANEL)
def logs(
    name: Annotated[
        str, typer.Argument(help="A process of `dailies up`: daemon, web, code, sandbox; or run.")
    ],
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="For `run`: its id.")] = None,
    lines: Annotated[int, typer.Option(help="How many lines, from the end.", min=1)] = 50,
) -> None:
    """Show the last lines of a process's log, or the last messages of a run in Dagster."""
    from pipelines.cli.logs import show_log, show_run
    from resources.settings import load_settings

    if name != "run":
        show_log(load_settings(), name, lines)
    elif run_id is None:
        raise typer.BadParameter(
            "name the run: `dailies logs run ID`; `dailies produce` prints the address that ends with it"
        )
    else:
        show_run(load_settings(), run_id, lines)


@operations_app.command(rich_help_panel=PANEL)
def webhooks(
    port: Annotated[int, typer.Option(help="Its port.", min=1, max=65535)] = 8790,
    host: Host = "127.0.0.1",
) -> None:
    """Receive the providers' callbacks, until Ctrl-C. Optional: they settle lost answers and make polls prompt."""
    from resources.settings import load_settings
    from resources.webhooks.server import serve

    end_on_signals()
    serve(load_settings(), port=port, host=host)


@operations_app.command(rich_help_panel=PANEL)
def stop(
    reason: Annotated[
        str, typer.Option(help="The reason, shown to everybody who meets the stop.")
    ] = "a person stopped it",
    account: Annotated[str | None, typer.Option(help="Only this account; `dailies key` names all.")] = None,
) -> None:
    """Stop all buying at once. Jobs at the providers are still polled and fetched; the queue is kept."""
    from pipelines.cli.switch import stop_buying
    from resources.settings import load_settings

    stop_buying(load_settings(), account, reason)


@operations_app.command(rich_help_panel=PANEL)
def start(
    account: Annotated[str | None, typer.Option(help="Only this account; `dailies key` names all.")] = None,
) -> None:
    """Resume buying after `dailies stop`, or after an account was charged more than was ordered."""
    from pipelines.cli.switch import start_buying
    from resources.settings import load_settings

    start_buying(load_settings(), account)


@operations_app.command(rich_help_panel=PANEL)
def key(
    account: Annotated[str | None, typer.Argument(help="An account; without one, all are shown.")] = None,
    dedicated: Annotated[
        bool | None,
        typer.Option("--dedicated/--shared", help="Whether only this ledger uses the account's key."),
    ] = None,
) -> None:
    """Show or set who uses an account's key. If others may use it, no job is matched to a lost answer."""
    from pipelines.cli.key_use import say_of_key, show_keys
    from pipelines.cli.stack_settings import running_settings

    if account is None and dedicated is None:
        show_keys(running_settings())
    elif account is None or dedicated is None:
        raise typer.BadParameter("name the account and one of --dedicated and --shared")
    else:
        say_of_key(running_settings(), account, dedicated=dedicated)


@operations_app.command(name="verify-provider", rich_help_panel=PANEL)
def verify_provider(
    account: Annotated[str, typer.Argument(help="An account; `dailies key` names all.")],
    endpoint: Annotated[str | None, typer.Option(help="Buy this endpoint; the cheapest by default.")] = None,
    allow_retired: Annotated[bool, typer.Option("--allow-retired", help="Allow a retired endpoint.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the job.", min=1)] = 1200.0,
    settle: Annotated[
        float, typer.Option(help="Seconds to wait for the listing and the bill after its end.", min=0)
    ] = 180.0,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Buy the cheapest job, and report how the live service differs from its documentation. Exits with 1 if it does."""
    import asyncio

    from pipelines.cli.approval import agree
    from pipelines.cli.stack_settings import running_settings
    from pipelines.cli.verify_provider import Trial, print_document, show, verify

    wanted = Trial(account, endpoint, allow_retired, wait, settle)
    report = asyncio.run(
        verify(
            running_settings(),
            wanted,
            ask=lambda what: agree(what, yes=yes),
            say=lambda text: None if as_json else tell(text),
        )
    )
    if as_json:
        print_document(report)
    else:
        show(report)
    raise typer.Exit(1 if report.differs else 0)
