"""The one thread of an engine that talks to the ledger, so that its event loop never waits for the database."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from resources.ledger.ledger import Ledger
from resources.ledger.outage import repeat_unrecorded

P = ParamSpec("P")
T = TypeVar("T")


class LedgerThread:
    """Runs ledger functions outside the event loop, one after the other.

    A lock in the database may take seconds, during which the loop must still read the answer to a POST in time.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.blocking = ledger
        """The ledger itself, for callers with their own thread. Its methods wait for the database."""
        self.changed = asyncio.Event()
        """Set after this process has written a change that a waiting batch looks for."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def run(
        self, function: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(ledger, *args, **kwargs)` in the thread; after an outage of the database, repeat it (`outage.repeat_unrecorded`)."""
        # log lines of the thread name the same clip
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: context.run(lambda: repeat_unrecorded(function, self.blocking, *args, **kwargs)),
        )

    def clock(self) -> float:
        """Seconds since the epoch by the ledger's clock; sends no query."""
        return self.blocking.clock()

    def close(self) -> None:
        """Wait for the running functions, then end the thread. The ledger stays open."""
        self._thread.shutdown(wait=True)
