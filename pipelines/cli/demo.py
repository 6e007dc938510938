"""The demo: a day of the sample series through the real pipeline; one clip fails the first time.

Only the addresses are special: it starts `dailies up` with the sandbox and the embedded S3, requests runs, and reads Dagster and the
ledger.
"""

import datetime as dt
import time
from pathlib import Path

from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from pipelines.cli.bucket import bucket_of
from pipelines.cli.clip_table import COLOURS
from pipelines.cli.dagster_api import Colours, DagsterApi
from pipelines.cli.declared import declarations_of
from pipelines.cli.failed_clips import failed_clips
from pipelines.cli.gallery import file_of, write
from pipelines.cli.launch import RETRY, Launch, approve_as_declared, launch, wait_for
from pipelines.cli.ports import usual_port
from pipelines.cli.stack import Stack, StackOptions
from pipelines.cli.terminal import age, complain, console, print_table, table_of, tell
from pipelines.lineage import GENERATIONS, UPLOADED_VIDEOS
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd
from resources.series import Declarations
from resources.settings import Settings, open_ledger

FAULTS = Path(__file__).parents[2] / "resources" / "sandbox" / "demo_faults.yaml"
SETTLE_SECONDS = 20.0
PORT = 3000


def run_demo(settings: Settings, *, port: int | None, job_seconds: float) -> int:
    """Run the demo; returns the command's exit code.

    Args:
        settings: The settings; stand-ins replace providers and bucket in any case.
        port: The port of Dagster's UI; None for the default port, or a free one if the default is taken.
        job_seconds: How long the sandbox's jobs take, in seconds.
    """
    began = time.monotonic()
    if port is None:
        port = usual_port(PORT)
        if port != PORT:
            tell(f"something else listens on port {PORT}, so this demo's Dagster is on port {port}")
    options = ["--job-seconds", str(job_seconds), "--faults", str(FAULTS)]
    stack_options = StackOptions(
        port=port,
        sandbox=True,
        embedded_s3=True,
        sandbox_options=options,
        alarms=False,
        log=lambda text: tell(f"… {text}"),
    )
    declarations = declarations_of(settings)
    if declarations.problems or not declarations.series:
        for problem in declarations.problems:
            complain(str(problem))
        raise ConfigurationError("the demo needs valid sample series in data/series; nothing was bought")
    with Stack(settings, stack_options) as stack, DagsterApi(stack.dagster_url) as api:
        tell(f"\nDagster is at {stack.dagster_url} - the asset graph: {stack.dagster_url}/asset-groups\n")
        keys = _keys(settings, declarations)
        newest = _first_take(settings, api, declarations, keys)
        newest |= _second_take(settings, api, newest)
        _show_result(settings, stack, api, newest, time.monotonic() - began)
    delivered = sum(attempt.state is AttemptState.DELIVERED for attempt in newest.values())
    return 0 if delivered == len(keys) else 1


def _keys(settings: Settings, declarations: Declarations) -> list[str]:
    """The clips of the next day that was not produced yet, so that every demo produces something."""
    with open_ledger(settings) as ledger:
        for days in range(366):
            date = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)
            keys = [
                clip.key
                for series in declarations.series.values()
                for clip in series.clips(date if series.dated else None)
            ]
            dated = [key for key in keys if date.isoformat() in key]
            if not ledger.latest(dated):
                return keys
    raise DailiesError("a year of demos has been produced here; start a new one with DAILIES_HOME")


def _first_take(
    settings: Settings, api: DagsterApi, declarations: Declarations, keys: list[str]
) -> dict[str, Attempt]:
    console.print(Rule(f"{len(keys)} clips of {len(declarations.series)} series", align="left"))
    for series in declarations.series.values():
        tell(f"  {series.name}: {series.title} ({', '.join(series.endpoints.bought)})")
    launched = launch(settings, api, approve_as_declared(settings, keys), Launch("demo", "produce_clips"))
    run = f"{api.url}/runs/{launched.runs[0]}"
    tell(f"\nrequested in one run: {run}")
    newest = wait_for(api, settings, launched, quiet=False).by_clip
    if never := len(set(keys) - set(newest)):
        complain(f"{never} clips were not bought, because the run failed before that: {run}")
    return newest


def _second_take(settings: Settings, api: DagsterApi, newest: dict[str, Attempt]) -> dict[str, Attempt]:
    """Show the failed clips, as Dagster does, and make only those again."""
    with open_ledger(settings) as ledger:
        failed = [key for key in failed_clips(ledger) if key in newest]
    if not failed:
        return {}
    colours = _settled(api, set(newest), red=set(failed))
    for key in failed:
        attempt = newest[key]
        shown = "red" if key in colours[GENERATIONS.to_user_string()].red else "not red yet"
        body = Text(
            f"{attempt.reason}\nits cost: {show_usd(attempt.cost_micros)}; in Dagster: {shown} on generations"
        )
        console.print(Panel(body, title=f"{key} failed", border_style="red", title_align="left"))
    console.print(Rule("only the failed clips are made again", align="left"))
    launched = launch(settings, api, approve_as_declared(settings, failed), RETRY)
    tell(f"requested in one run: {api.url}/runs/{launched.runs[0]}")
    again = wait_for(api, settings, launched, quiet=False).by_clip
    _settled(api, set(newest), red=set())
    return again


def _settled(api: DagsterApi, keys: set[str], *, red: set[str]) -> dict[str, Colours]:
    """The colours in Dagster, after it has processed the run that just ended."""
    give_up = time.monotonic() + SETTLE_SECONDS
    while True:
        colours = api.colours()
        videos = colours[UPLOADED_VIDEOS.to_user_string()]
        if (videos.red & keys == red and videos.green & keys == keys - red) or time.monotonic() > give_up:
            return colours
        time.sleep(0.5)


def _show_result(
    settings: Settings, stack: Stack, api: DagsterApi, newest: dict[str, Attempt], seconds: float
) -> None:
    with open_ledger(settings) as ledger:
        takes = ledger.latest_takes(list(newest))
    costs = dict.fromkeys(newest, 0)
    for take in takes.values():
        costs[take.clip] += take.cost_micros
    table = table_of("clip", "state", "cost", "waited", right={"cost", "waited"})
    for key, attempt in newest.items():
        state = Text(attempt.state.value, style=COLOURS.get(attempt.state, "red"))
        waited = age(attempt.waited_seconds) if attempt.waited_seconds is not None else ""
        table.add_row(key, state, show_usd(costs[key]), waited)
    colours = api.colours()[UPLOADED_VIDEOS.to_user_string()]
    green = len(colours.green & set(newest))
    console.print(Rule("done", align="left"))
    print_table(table)
    tell(f"\nThe files are in {_relative(stack.home / 's3' / 'dailies' / 'videos')}.")
    up = "`make up`" if stack.options.port == PORT else f"`.venv/bin/dailies up --port {stack.options.port}`"
    tell(
        f"\n{green} of {len(newest)} clips are green in Dagster. On a real account this would have cost "
        f"{show_usd(sum(costs.values()))}; the sandbox charged nothing. It took {seconds:.0f} s.\n"
        f"Everything is still there: {up} shows it at {stack.dagster_url}, `.venv/bin/dailies status` lists it."
    )
    _show_gallery(settings)


def _show_gallery(settings: Settings) -> None:
    """Print the address of the gallery. If the gallery cannot be written, the demo still succeeds."""
    try:
        with bucket_of(settings) as bucket:
            file = file_of(bucket, write(settings, bucket))
    except DailiesError as error:
        complain(f"there is no gallery: {error}")
        return
    if file is not None:
        tell(f"Play the clips: open {_relative(file)} in a browser, or `.venv/bin/dailies gallery --open`.")


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
