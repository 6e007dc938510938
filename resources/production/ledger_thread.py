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
    """Runs ledger functions off the event loop, one after the other.

    A lock in the database may take seconds, and an answer to a POST must be read in time meanwhile.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.blocking = ledger
        """The ledger itself, for whoever has a thread of their own. Its methods wait for the database."""
        self.changed = asyncio.Event()
        """Set when this process has written something that a waiting batch looks for."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def run(
        self, function: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(ledger, *args, **kwargs)` in the thread, through an outage of the database; see `outage.repeat_unrecorded`."""
        # log lines of the thread are about the same clip
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: context.run(lambda: repeat_unrecorded(function, self.blocking, *args, **kwargs)),
        )

    def clock(self) -> float:
        """Seconds since the epoch by the ledger's clock, which asks no database."""
        return self.blocking.clock()

    def close(self) -> None:
        """Wait for what runs, then end the thread. The ledger stays open."""
        self._thread.shutdown(wait=True)
