"""`dailies logs`: the logs of the processes of `dailies up`, and the messages of a run in Dagster."""

import datetime as dt
import json
import re
from collections import deque
from pathlib import Path
from typing import Any

from rich.text import Text

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.terminal import console
from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.plain import legible, shown
from resources.settings import Settings

NAMES = {"web": "webserver"}
"""Other names of processes, for people."""
LONGEST_LINE = 4_000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RUN = """
query Log($id: ID!, $after: String) {
  runOrError(runId: $id) {
    ... on Run {
      status
      eventConnection(limit: 1000, afterCursor: $after) {
        cursor hasMore
        events { ... on MessageEvent { message timestamp level } }
      }
    }
  }
}
"""


def show_log(settings: Settings, name: str, lines: int) -> None:
    """Print the end of a process's log.

    Raises:
        ConfigurationError: No such process has run here; the text names those that have.
    """
    folder = settings.home / "logs"
    known = sorted(file.stem for file in folder.glob("*.log")) if folder.is_dir() else []
    file = folder / f"{NAMES.get(name, name)}.log"
    if file.stem not in known:
        names = ", ".join(known) or "none yet; `dailies up` starts them"
        raise ConfigurationError(
            f"there is no log of {name!r} in {folder}; there are: {names}, and `run ID`"
            + suggestion(name, [*known, *NAMES]).removesuffix(".")
        )
    for line in _tail(file, lines):
        console.print(
            Text(legible(_COLOUR.sub("", _readable(line)[:LONGEST_LINE]), lines=True)), soft_wrap=True
        )


def _readable(line: str) -> str:
    """A log line for a person, also one that `DAILIES_LOG_FORMAT=json` wrote as an object."""
    if not line.startswith('{"time"'):
        return line
    try:
        fields = {name: str(value) for name, value in json.loads(line).items()}
        head = (
            f"{fields.pop('time')} {fields.pop('level'):<8} {fields.pop('logger')}: {fields.pop('message')}"
        )
    except (ValueError, KeyError, AttributeError):
        return line
    trace = fields.pop("exception", "").rstrip()
    rest = " ".join(f"{name}={value}" for name, value in fields.items())
    return "".join([head, f"  [{rest}]" if rest else "", f"\n{trace}" if trace else ""])


def _tail(file: Path, lines: int) -> list[str]:
    try:
        with file.open(encoding="utf-8", errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, maxlen=lines)]
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None


def show_run(settings: Settings, run_id: str, lines: int) -> None:
    """Print the last messages of a run.

    Raises:
        ConfigurationError: Dagster knows no such run.
        UnavailableError: Dagster does not answer.
    """
    events: deque[dict[str, Any]] = deque(maxlen=lines)
    status, after, more = "", None, True
    with DagsterApi.of(settings) as api:
        url = api.url
        while more:
            run = api.query(_RUN, id=run_id, after=after)["runOrError"]
            if "eventConnection" not in run:
                raise ConfigurationError(f"Dagster knows no run {run_id!r}; {url}/runs lists them")
            connection = run["eventConnection"]
            events.extend(event for event in connection["events"] if event.get("message"))
            status, after, more = run["status"], connection["cursor"], connection["hasMore"]
    for event in events:
        at = dt.datetime.fromtimestamp(float(event["timestamp"]) / 1000, dt.UTC)
        style = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}.get(event["level"], "")
        message = shown(event["message"], longest=LONGEST_LINE)
        console.print(
            Text(f"{at:%Y-%m-%d %H:%M:%S} {event['level']:<8} {message}", style=style), soft_wrap=True
        )
    console.print(f"the run is {status}: {url}/runs/{run_id}", soft_wrap=True)
