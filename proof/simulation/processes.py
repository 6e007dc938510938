"""Processes that share only the ledger and the bucket, and die or sleep at chosen points.

Each external action of a process passes a *point*: a commit that changes something, a request to the provider, to
the bucket or to a file's host; each before it and after it. A process that crashes at a point is dead: later actions
of its tasks, also in a `finally`, have no effect.
"""

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from proof.clock import Clock, VirtualLoop
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger

PROCESS: ContextVar["SimulatedProcess | None"] = ContextVar("process", default=None)
THREAD_SECONDS = 0.02
SLOWEST = 6.0
SLOW_UP_TO_SECONDS = 5.0


class Crash(BaseException):
    """The process is dead. No `except Exception` may keep it alive."""


@dataclass
class Points:
    """The points at which processes can die, and those at which they do."""

    crashes: frozenset[int] = frozenset()
    """Numbers of the points at which a process dies."""
    pauses: Mapping[int, float] = field(default_factory=dict)
    """Seconds that a process sleeps, by the number of the point."""
    at: dict[str, float] = field(default_factory=dict)
    """The same by label, each for the first process that passes it; None is a death."""
    count: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    """The number of passes of each label."""
    first: dict[str, int] = field(default_factory=dict)
    """The number of the point that passed each label first."""
    crashed: Counter[str] = field(default_factory=Counter)
    """The number of deaths at each label."""
    paused: Counter[str] = field(default_factory=Counter)
    """The number of sleeps at each label."""
    trace: list[str] | None = None
    """The trace, in order; None to keep none."""
    closed: bool = False


class SimulatedProcess:
    """One operating system process.

    Args:
        name: For the trace.
        clock: True time.
        points: The points of the history.
        rng: Draws the time of its threads, and the product's jitter.
        ahead: Seconds by which its clock is ahead now.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        points: Points,
        rng: random.Random,
        *,
        ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.ahead = ahead
        self.name = name
        self.clock = clock
        self.rng = rng
        self.dead = self.crashed = False
        self._points = points
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._asleep_until = 0.0

    def wall(self) -> float:
        """The time, in the product's form."""
        return self.clock.now + self.ahead()

    def owns(self, task: "asyncio.Task[Any]") -> None:
        """Record that the task belongs to this process."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def note(self, what: str) -> None:
        """Write into the trace."""
        if self._points.trace is not None:
            self._points.trace.append(f"{self.clock.now - 1.8e9:9.2f} {self.name}: {what}")

    @property
    def asleep(self) -> bool:
        """Whether it sleeps now."""
        return self._asleep_until > self.clock.now

    def alive(self) -> None:
        """Return only if the process is alive.

        Raises:
            Crash: The process is dead.
        """
        if self.dead:
            raise Crash

    def die(self, where: str) -> None:
        """End at once."""
        self.note(f"dies at {where}")
        self.dead = self.crashed = True
        for task in list(self._tasks):
            task.cancel()

    def passes(self, label: str) -> None:
        """Pass a point.

        Raises:
            Crash: The process dies here, or is dead already.
        """
        self.alive()
        points = self._points
        if points.closed:
            self.note(label)
            return
        number = points.count
        points.count += 1
        points.passed[label] += 1
        points.first.setdefault(label, number)
        sleeps = points.at.pop(label, points.pauses.get(number))
        if number in points.crashes or sleeps == 0:
            points.crashed[label] += 1
            self.die(f"point {number}, {label}")
            raise Crash
        if sleeps is not None:
            points.paused[label] += 1
            self._asleep_until = self.clock.now + sleeps
            self.note(f"sleeps for {sleeps:.0f} s at point {number}, {label}")
        else:
            self.note(label)

    async def ends(self) -> None:
        """End as `asyncio.run` does: what still runs is cancelled and waited for."""
        ending = asyncio.current_task()
        others = [task for task in self._tasks if task is not ending]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def at(self, label: str) -> None:
        """Pass a point from a task, which sleeps when the process does."""
        self.passes(label)
        await self._awake()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`, and longer if the process is asleep."""
        await asyncio.sleep(seconds)
        await self._awake()

    async def nap(self, seconds: float) -> None:
        """How the product sleeps here: up to `SLOWEST` times as long, since a machine may be slow, and looks cost time."""
        await self.sleep(
            seconds * self.rng.uniform(1.0, SLOWEST) if seconds <= SLOW_UP_TO_SECONDS else seconds
        )

    async def _awake(self) -> None:
        while self.asleep:  # noqa: ASYNC110 - it may be put to sleep again
            await asyncio.sleep(self._asleep_until - self.clock.now)
        self.alive()

    def deliver(
        self, loop: VirtualLoop, future: "asyncio.Future[Any]", result: Any, error: BaseException | None
    ) -> None:
        """Give a thread's result to the loop, which does not see it while the process sleeps."""
        if future.done():
            return
        if self.asleep:
            loop.call_at(self._asleep_until, self.deliver, loop, future, result, error)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def thread(loop: VirtualLoop, work: Callable[[], Any]) -> "asyncio.Future[Any]":
    """A process's thread: the work is done at once, its result arrives a little later, and others act in between."""
    future = loop.create_future()
    result, error = None, cast("BaseException | None", None)
    try:
        result = work()
    except StopIteration as stop:
        error = RuntimeError(f"a thread raised {stop!r}")
    except BaseException as raised:  # noqa: BLE001 - the caller that awaits the thread gets the error
        error = raised
    process = PROCESS.get()
    if process is None:
        raise AssertionError("only processes have threads")
    loop.call_later(process.rng.random() * THREAD_SECONDS, process.deliver, loop, future, result, error)
    return future


def started(task: "asyncio.Task[Any]") -> None:
    """A task belongs to the process that started it."""
    process = PROCESS.get()
    if process is not None:
        process.owns(task)


class ProcessLedger(Ledger):
    """The product's ledger, whose commits are points of a process.

    A commit that changes nothing is not a point: a death there equals one between its neighbours.
    """

    def __init__(self, process: SimulatedProcess, *, budget: Budget) -> None:
        self._process = process
        super().__init__("sqlite:///of-the-history", clock=process.wall, budget=budget)

    def close(self) -> None:
        """Does nothing: the database belongs to the history."""

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """As the product's, with a point before and after the commit."""
        process = self._process
        process.alive()
        label = None
        with super().write() as connection:
            before = _changes(connection)
            yield connection
            if _changes(connection) != before:
                label = f"commit of {_verb()}"
                process.passes(f"{label}: before")
        if label is not None:
            process.passes(f"{label}: after")

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """As the product's, for a living process."""
        self._process.alive()
        with super().read() as connection:
            yield connection


def _changes(connection: sa.Connection) -> int:
    raw: Any = connection.connection.dbapi_connection
    return int(raw.total_changes)


def _verb() -> str:
    """The product's function whose transaction this is."""
    frame = sys._getframe(2)  # noqa: SLF001 - CPython's public way to the callers
    while frame is not None:
        code = frame.f_code
        if (
            code.co_filename.endswith(".py")
            and "/resources/" in code.co_filename
            and code.co_name not in {"write", "transaction", "__enter__", "__exit__"}
        ):
            return f"{Path(code.co_filename).stem}.{code.co_name}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "the simulation"
