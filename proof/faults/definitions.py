"""The product's code location with the proof's clock in its ledger, clients and sleep."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator

from pipelines.code_location import build_defs
from proof.clock import FastClock
from proof.faults.worker import SUBMIT_SECONDS, client, shorten_waits
from resources.dagster_resources import Production
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.production.account import Account, bind_account
from resources.production.engine import Engine

PACE = FastClock(float(os.environ["BENCH_ORIGIN"]), float(os.environ["BENCH_FACTOR"]))


class PacedProduction(Production):
    """The resources of runs, on the proof's clock."""

    @contextlib.contextmanager
    def ledger(self, *, patience: float | None = None) -> Iterator[Ledger]:
        """The ledger, closed at the end."""
        with super().ledger(patience=patience) as ledger:
            ledger.clock = PACE.clock
            yield ledger

    @contextlib.asynccontextmanager
    async def engine(
        self,
        ledger: Ledger,
        accounts: Iterable[str],
        *,
        buying: bool = True,  # noqa: ARG002 - here every account can be used
    ) -> AsyncIterator[Engine]:
        """An engine for some accounts, closed at the end."""
        settings = self.settings()
        ready = {}
        for name in accounts:
            account = settings.account(name)
            bind_account(ledger, account)
            ready[name] = Account(client(account, PACE), Limits(), SUBMIT_SECONDS)
        engine = Engine(ledger, ready, sleep=PACE.sleep)
        try:
            yield engine
        finally:
            await engine.aclose()


shorten_waits(PACE.factor)
defs = build_defs(PacedProduction())
