"""The clocks of the proofs and the tests: a manual one, and one that runs faster than real time.

A `VirtualLoop` moves a `Clock` to the next due timer, so that an hour takes a moment and two runs of a history do the same
in the same order. With a `Pace`, leases, deadlines and settle times stay as they are shipped; the ledger, the providers' clients and
the engine's sleep receive the clock as an argument, and the stand-in's Date header and jobs follow it too.
"""

import asyncio
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

START = 1_800_000_000.0


@dataclass
class Clock:
    """Seconds since the epoch that only a test or a `VirtualLoop` moves."""

    now: float = START

    def __call__(self) -> float:
        """The time, in the product's form."""
        return self.now

    def forward(self, seconds: float) -> float:
        """Move on; returns the new time."""
        self.now += seconds
        return self.now


class NothingDueError(Exception):
    """No timer is due and none will be: the code under test hangs."""


class _Skipping(selectors.DefaultSelector):
    """Moves the clock by a time-out instead of waiting for it."""

    def __init__(self, clock: Clock, *, files: bool) -> None:
        super().__init__()
        self._clock = clock
        self._files = files

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingDueError("no timer is due and none will be: the code under test hangs")
        if timeout > 0:
            self._clock.now += timeout
        return super().select(0) if self._files else []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that runs on a `Clock`.

    Args:
        clock: The clock that it moves.
        threads: Runs the work that the code under test gives to a thread, and returns a future with its result; None for real
            threads, whose results the loop then waits for.
        started: Called with every task.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threads: Callable[["VirtualLoop", Callable[[], Any]], "asyncio.Future[Any]"] | None = None,
        started: Callable[["asyncio.Task[Any]"], None] = lambda _task: None,
    ) -> None:
        super().__init__(_Skipping(clock, files=threads is None))
        self._clock = clock
        self._threads = threads
        self._started = started
        # seconds since the epoch have no nanoseconds left in a float: without this a timer that is due now never fires
        self._clock_resolution = 1e-5

    def time(self) -> float:
        """The clock's."""
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Give work to a thread, or to the model of one."""
        if self._threads is None:
            return super().run_in_executor(executor, func, *args)
        return self._threads(self, lambda: func(*args))

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        """Start a task as asyncio does, and report it to `started`."""
        task = super().create_task(coro, **options)
        self._started(task)
        return task


@dataclass(frozen=True)
class FastClock:
    """A clock that runs a fixed number of times as fast as real time."""

    origin: float
    """Real time at which both clocks show the same, seconds since the epoch."""
    factor: float
    """The clock's seconds to a real one."""
    skew: float = 0.0
    """The clock's error in this process, in its own seconds."""

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.origin + (time.time() - self.origin) * self.factor + self.skew

    def real(self, seconds: float) -> float:
        """Real seconds for a number of the clock's seconds."""
        return seconds / self.factor

    async def sleep(self, seconds: float) -> None:
        """Wait a number of the clock's seconds."""
        await asyncio.sleep(self.real(seconds))
