"""A process that delivers all waiting generations, and then ends: `python -m proof.deliveries.worker PLACE`.

PLACE is a JSON file with the addresses and folders.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from resources.errors import DailiesError
from resources.ledger import deliveries
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.production.account import Account
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.storage.download_policy import DownloadPolicy
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings

AT_ONCE = 4
KEY = "sandbox"


def waiting(ledger: Ledger) -> list[Attempt]:
    """The generations that no worker has claimed."""
    query = (
        sa.select(attempts).where(attempts.c.state == AttemptState.SUCCEEDED.value).order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query)]


async def bring_home(place: dict[str, Any]) -> None:
    """Deliver until no generation waits."""
    store = ObjectStore(
        S3Settings(
            bucket=place["bucket"],
            endpoint_url=place["endpoint"],
            access_key_id=place["key_id"],
            secret_access_key=SecretStr(place["secret"]),
        )
    )
    policy = DownloadPolicy(allowed_origins=frozenset({place["origin"]}), pause_seconds=0.05, read_seconds=5)
    with Ledger(place["ledger"], budget=Budget()) as ledger:
        engine = Engine(
            ledger, {"wavespeed": Account(WaveSpeed(Connection("wavespeed", place["origin"], KEY)))}
        )
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(deliverer: Deliverer, attempt: Attempt) -> None:
            async with turns:
                with contextlib.suppress(DailiesError):  # the loop below tries it again
                    await deliverer.deliver(attempt, run_id="bench")

        try:
            with Deliverer(engine, store, policy=policy, scratch=Path(place["scratch"])) as deliverer:
                while found := waiting(ledger):
                    await asyncio.gather(*(one(deliverer, attempt) for attempt in found))
                    # the claims of a dead worker end with their lease
                    await asyncio.sleep(0.1)
        finally:
            await engine.aclose()


def main() -> None:
    """Deliver the generations of PLACE."""
    place = json.loads(Path(sys.argv[1]).read_text())
    deliveries.LEASE_SECONDS = place["lease_seconds"]
    print("ready", flush=True)
    asyncio.run(bring_home(place))


if __name__ == "__main__":
    main()
