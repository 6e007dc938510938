"""The heartbeat of one run: a thread renews the run's claim, and the event loop vouches that work goes on.

A thread alone would keep a run alive whose loop hangs for ever. The loop alone would lose a run that waits for a slow bucket. So the
thread renews the claim, and while the run buys, watches or collects, only if the loop and the ledger thread have answered within
`STALL_SECONDS`.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable

from resources.errors import DailiesError
from resources.ledger import heartbeats
from resources.ledger.heartbeats import RunLostError
from resources.ledger.ledger import Ledger, process_name
from resources.production.engine import Engine

logger = logging.getLogger("dailies")

STALL_SECONDS = 300.0
"""How long one call may block the loop before the run no longer counts as alive."""
RETRY_SECONDS = 1.0
STOP_SECONDS = 10.0


class Heartbeat:
    """Renews the claim of a run until `stop`.

    Args:
        open_ledger: Opens another connection to the ledger, for the thread.
        run_id: Dagster's id of the run.
        monotonic: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        open_ledger: Callable[[], contextlib.AbstractContextManager[Ledger]],
        run_id: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_ledger = open_ledger
        self._run_id = run_id
        self.owner = process_name()
        """Names this process in the claim."""
        self._monotonic = monotonic
        self._ended = threading.Event()
        self._vouched_at: float | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Claim the run and keep renewing the claim.

        If the ledger does not answer yet, the thread tries again; the step itself reports the problem.

        Raises:
            RunLostError: The run was lost before it began.
        """
        try:
            with self._open_ledger() as ledger:
                heartbeats.begin(ledger, self._run_id, self.owner)
        except RunLostError:
            raise
        except DailiesError as error:
            logger.warning("the run's claim could not be renewed: %s", error)
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing, and release the claim."""
        self._ended.set()
        # a locked ledger must not delay the end of the run; its claim then expires by itself
        self._thread.join(STOP_SECONDS)

    @contextlib.asynccontextmanager
    async def vouched_for(self, engine: Engine) -> AsyncIterator[None]:
        """While the block runs, renew the claim only if its loop and the engine's ledger thread answer."""

        async def vouch() -> None:
            while True:
                self._vouched_at = await engine.ledger.run(lambda _: self._monotonic())
                await asyncio.sleep(heartbeats.RENEW_SECONDS)

        self._vouched_at = self._monotonic()
        task = asyncio.create_task(vouch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._vouched_at = None

    @property
    def is_stalled(self) -> bool:
        """Whether a loop that should vouch has not vouched for too long."""
        vouched_at = self._vouched_at
        return vouched_at is not None and self._monotonic() - vouched_at > STALL_SECONDS

    def _beat(self) -> None:
        while not self._ended.is_set():
            try:
                with self._open_ledger() as ledger:
                    heartbeats.begin(ledger, self._run_id, self.owner)
                    while not self._ended.wait(heartbeats.RENEW_SECONDS):
                        if not self.is_stalled and not heartbeats.renew(ledger, self._run_id, self.owner):
                            return
                    heartbeats.end(ledger, self._run_id, self.owner)
            except RunLostError:
                return
            except Exception as error:  # noqa: BLE001 - the next beat tries again after any error
                logger.warning("the run's claim could not be renewed: %s", error)
                self._ended.wait(RETRY_SECONDS)
