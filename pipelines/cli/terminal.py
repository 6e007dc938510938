"""How commands print: tables for people, JSON for machines, errors on standard error."""

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd, to_usd
from resources.plain import legible
from resources.providers.base import FailureKind

WIDE = 200

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option `--json` of every command with output."""


def _console(*, stderr: bool = False) -> Console:
    """A console that wraps at a terminal's width, and at `WIDE` columns elsewhere."""
    found = Console(stderr=stderr)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=WIDE)


console = _console()
errors = _console(stderr=True)

COLOURS = {
    AttemptState.DELIVERED: "green",
    AttemptState.SUCCEEDED: "cyan",
    AttemptState.SUBMITTED: "yellow",
    AttemptState.SUBMITTING: "yellow",
    AttemptState.QUEUED: "yellow",
    AttemptState.OVERDUE: "magenta",
    AttemptState.UNKNOWN: "magenta",
    AttemptState.HELD: "magenta",
}


def complain(message: str) -> None:
    """Print an error for a person; characters that no terminal shows are replaced."""
    said = legible(message, instead="\N{REPLACEMENT CHARACTER}", lines=True)
    errors.print(Text.assemble(("dailies: ", "bold red"), said), soft_wrap=True)


def confirm(question: str) -> None:
    """Ask a person, and end the command unless they answer yes."""
    typer.confirm(legible(question, instead="\N{REPLACEMENT CHARACTER}"), abort=True)


def print_json(document: object) -> None:
    """Print a document as JSON."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def age(seconds: float) -> str:
    """A duration for people: `42 s`, `7 min`, `3 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def where(attempt: Attempt) -> str:
    """Where a clip's video is, or why there is none."""
    if attempt.delivery is not None:
        return str(attempt.delivery.get("uri", ""))
    if attempt.confirming or attempt.reason:
        return attempt.confirming or attempt.reason or ""
    return f"job {attempt.job_id}" if attempt.job_id else ""


def _state(attempt: Attempt) -> str:
    """A clip's state, with the end that is being confirmed, if any."""
    if attempt.confirming is None or attempt.end_kind is None:
        return attempt.state.value
    end = {FailureKind.GONE: "gone", FailureKind.NO_OUTPUT: "without output"}.get(attempt.end_kind, "failed")
    return f"{attempt.state.value} ({end}, being confirmed)"


def _endpoint(attempt: Attempt) -> str:
    """The endpoint of a clip; for a fallback, also the one that was asked for."""
    asked = attempt.request.asked
    return attempt.endpoint if asked is None else f"{attempt.endpoint} (instead of {asked.endpoint})"


def status_table(attempts: Iterable[Attempt], *, now: float | None = None) -> Table:
    """A table with one line per clip: state, endpoint, age, cost and place."""
    now = time.time() if now is None else now
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("clip", "state", "endpoint", "age", "cost", "where"):
        table.add_column(name, justify="right" if name in {"age", "cost"} else "left", overflow="fold")
    for attempt in attempts:
        table.add_row(
            attempt.subject_key,
            Text(_state(attempt), style=COLOURS.get(attempt.state, "red")),
            _endpoint(attempt),
            age(now - attempt.created_at),
            show_usd(attempt.cost_micros),
            Text(where(attempt)),
        )
    return table


def as_document(attempt: Attempt) -> dict[str, Any]:
    """One clip for machines: stable names, numbers as numbers, money as exact text in USD."""
    delivery = attempt.delivery or {}
    return {
        "clip": attempt.subject_key,
        "series": attempt.series,
        "state": attempt.state.value,
        "reason": attempt.reason,
        "being_confirmed": attempt.confirming,
        "provider": attempt.provider,
        "endpoint": attempt.endpoint,
        "asked_for": attempt.request.asked.endpoint if attempt.request.asked else None,
        "attempt": attempt.id,
        "decision": attempt.decision,
        "job": attempt.job_id,
        "created_at": attempt.created_at,
        "submitted_at": attempt.submitted_at,
        "finished_at": attempt.finished_at,
        "delivered_at": attempt.delivered_at,
        "seconds_waited": attempt.waited_seconds,
        "cost_usd": str(to_usd(attempt.cost_micros)),
        "money": attempt.money_state.value,
        "uri": delivery.get("uri"),
        "manifest": delivery.get("manifest_uri"),
        "size_bytes": delivery.get("size"),
        "sha256": delivery.get("sha256"),
    }
