"""The progress of a command's clips: a moving line in a terminal, plain lines if the output is piped."""

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.cli.terminal import age, counted
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import UNDELIVERED, AttemptState
from resources.money import show_usd

QUIET_SECONDS = 30.0
"""The longest time without a line if the output is piped, in seconds."""


class ClipProgress:
    """Shows the finished clips, the money and the remaining time; a context manager.

    Args:
        console: The console to print on.
        quiet: Whether to show nothing.
    """

    def __init__(
        self,
        keys: Sequence[str],
        console: Console,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._console = console
        self._quiet = quiet
        self._clock = clock
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[money]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("producing", total=len(keys), money="", left="")
        self._failed_before: set[str] | None = None
        self._done = -1
        self._said_at = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def look(self, ledger: Ledger) -> None:
        """Show the ledger's present state."""
        newest = ledger.latest_takes(self._keys)
        total = max(len(newest), len(self._keys))
        if self._failed_before is None:
            self._failed_before = {
                a.id for a in newest.values() if a.state.is_ended and a.state is not AttemptState.DELIVERED
            }
        # a clip that is bought again ends with its new purchase, not with its failed one
        newest = {take: a for take, a in newest.items() if a.id not in self._failed_before}
        done = sum(a.state is not AttemptState.SUCCEEDED and a.state.is_ended for a in newest.values())
        missed = sum(a.state.is_ended and a.state in UNDELIVERED for a in newest.values())
        doing = "its runs end" if done == total else _doing(newest.values())
        doing = f"{missed} failed, {doing}" if missed else doing
        money = show_usd(sum(attempt.cost_micros for attempt in newest.values()))
        left = time_left(newest.values(), now=ledger.clock())
        self._bar.update(self._task, total=total, completed=done, description=doing, money=money, left=left)
        if self._quiet or self._console.is_terminal:
            return
        now = self._clock()
        if done != self._done or now - self._said_at >= QUIET_SECONDS:
            self._done, self._said_at = done, now
            noun = "clip" if total == len(self._keys) else "take"
            parts = [f"{done} of {counted(total, noun)} done", doing, money, left]
            self._console.print("; ".join(filter(None, parts)), soft_wrap=True)


def time_left(newest: Iterable[Attempt], *, now: float) -> str:
    """The approximate time until the last clip is delivered, by its endpoint's usual time; empty if that is not known.

    Args:
        now: Seconds since the epoch, by the ledger's clock.
    """
    going = [a for a in newest if a.state.is_open]
    usual = [a.request.usual_seconds for a in going]
    if not going or None in usual:
        return ""
    left = max(
        (seconds or 0) - (now - (a.submitted_at or now)) for a, seconds in zip(going, usual, strict=True)
    )
    return f"about {age(left)} left" if left > 0 else "any moment"


def _doing(newest: Iterable[Attempt]) -> str:
    states = [a.state.value for a in newest if not a.state.is_ended]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "producing"
