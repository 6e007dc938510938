"""Clips as a table for people, and as a document for machines."""

import time
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.terminal import age, print_table, table_of, tell
from resources.ledger.ledger import Ledger
from resources.ledger.newest import similar_clip
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd, to_usd
from resources.providers.base import FailureKind

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


def spelling_hint(ledger: Ledger, key: str) -> str:
    """What a person does next whose clip was never bought: most likely its key is misspelt."""
    near = similar_clip(ledger, key)
    return "`dailies status` shows all clips" if near is None else f"did you mean {near}?"


def where(attempt: Attempt) -> str:
    """The address of a clip's video, or why there is none."""
    if attempt.delivery is not None:
        return str(attempt.delivery.get("uri", ""))
    if attempt.confirming or attempt.reason:
        return attempt.confirming or attempt.reason or ""
    return f"job {attempt.job_id}" if attempt.job_id else ""


def _state(attempt: Attempt) -> str:
    """A clip's state, with the doubtful end of its job, if any."""
    if attempt.confirming is None or attempt.end_kind is None:
        return attempt.state.value
    end = {FailureKind.GONE: "gone", FailureKind.NO_OUTPUT: "without output"}.get(attempt.end_kind, "failed")
    return f"{attempt.state.value} ({end}, being confirmed)"


def _endpoint(attempt: Attempt) -> str:
    """The endpoint of a clip; for a fallback, also the one that was asked for."""
    asked = attempt.request.asked
    return attempt.endpoint if asked is None else f"{attempt.endpoint} (instead of {asked.endpoint})"


def show_clips(attempts: Iterable[Attempt], *, long: bool = False, now: float | None = None) -> None:
    """Print one line per clip, and below them why clips failed.

    Args:
        long: Whether to show endpoints and addresses too.
    """
    shown = list(attempts)
    print_table(status_table(shown, long=long, now=now))
    if not long:
        for attempt in shown:
            if attempt.delivery is None and (attempt.confirming or attempt.reason):
                slot, style = str(attempt.take_slot), COLOURS.get(attempt.state, "red")
                tell(f": {where(attempt)}", mark=slot, style=style)


def status_table(attempts: Iterable[Attempt], *, long: bool = False, now: float | None = None) -> Table:
    """A table with one line per clip: state, age and cost; with `long`, also endpoint and place."""
    now = time.time() if now is None else now
    columns = (
        ("clip", "state", "endpoint", "age", "cost", "where") if long else ("clip", "state", "age", "cost")
    )
    table = table_of(*columns, right={"age", "cost"})
    for attempt in attempts:
        cells: dict[str, Text | str] = {
            "clip": Text(str(attempt.take_slot)),
            "state": Text(_state(attempt), style=COLOURS.get(attempt.state, "red")),
            "endpoint": Text(_endpoint(attempt)),
            "age": age(now - attempt.created_at),
            "cost": show_usd(attempt.cost_micros),
            "where": Text(where(attempt)),
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def as_document(attempt: Attempt) -> dict[str, Any]:
    """One clip as JSON: stable names, numbers as numbers, money as exact text in USD."""
    delivery = attempt.delivery or {}
    return {
        "clip": attempt.subject_key,
        "slot": attempt.slot,
        "seed": attempt.request.sent_seed,
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
