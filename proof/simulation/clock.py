"""Virtual time: an event loop that never waits and threads that take no time, so that an hour takes a moment.

Two runs of the same history do the same in the same order.
"""

import asyncio
import selectors
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

START = 1_800_000_000.0


@dataclass
class Clock:
    """Seconds since the epoch, moved by the loop."""

    now: float = START

    def __call__(self) -> float:
        """The time, as the product asks for it."""
        return self.now


class NothingDueError(Exception):
    """Nothing is due and nothing will ever happen: what is simulated hangs."""


class _Skipping(selectors.SelectSelector):
    """Instead of waiting for a time-out, the clock is moved by it. No file is ever looked at."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingDueError("nothing is due and nothing will ever happen")
        if timeout > 0:
            self._clock.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that lives on a `Clock`.

    Args:
        clock: What it moves.
        threads: Runs what the code under test gives to a thread; returns a future with its result.
        started: Told of every task.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threads: Callable[["VirtualLoop", Callable[[], Any]], "asyncio.Future[Any]"],
        started: Callable[["asyncio.Task[Any]"], None],
    ) -> None:
        super().__init__(_Skipping(clock))
        self._clock = clock
        self._threads = threads
        self._started = started
        # seconds since the epoch have no nanoseconds left in a float: without this a timer that is due now never fires
        self._clock_resolution = 1e-5

    def time(self) -> float:
        """The clock's."""
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]  # noqa: ARG002 - asyncio's signature
        """Run it now; its result arrives when the model of threads says so."""
        return self._threads(self, lambda: func(*args))

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """As asyncio's, and tell who is interested."""
        task = super().create_task(coro, **options)
        self._started(task)
        return task
