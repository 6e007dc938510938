"""A thread that copies verdicts into the bucket, so that no person waits for it."""

import logging
import threading

from resources.errors import DailiesError
from resources.ledger.ledger import Ledger
from resources.production.verdict_objects import store_verdicts
from resources.storage.objects import ObjectStore
from resources.unforeseen import as_unforeseen

logger = logging.getLogger("dailies")

AGAIN_SECONDS = 30.0
"""How long to wait after a verdict could not be stored, in seconds."""


class VerdictKeeper:
    """Stores missing verdicts in the bucket: at the start, after each verdict, and again after a failure."""

    def __init__(self, ledger: Ledger, store: ObjectStore) -> None:
        self._ledger = ledger
        self._store = store
        self._woken = threading.Event()
        self._ends = False
        self._thread = threading.Thread(target=self._work, name="verdicts", daemon=True)
        self.left = 0
        """How many verdicts the bucket lacks."""

    def start(self) -> None:
        """Begin."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """Store a new verdict soon."""
        self._woken.set()

    def stop(self, *, seconds: float = 10.0) -> None:
        """End the thread after the present verdict; the ledger knows the rest."""
        self._ends = True
        self._woken.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        while not self._ends:
            self._woken.wait(AGAIN_SECONDS if self.left else None)
            self._woken.clear()
            try:
                with as_unforeseen("verdicts could not be copied"):
                    self.left = store_verdicts(self._ledger, self._store)
            except DailiesError as error:
                self.left = max(self.left, 1)
                logger.warning("verdicts could not be copied into the bucket: %s", error)
