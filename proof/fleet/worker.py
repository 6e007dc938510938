"""A process of a host: a run that buys or collects, or the sensor that requests runs: `python -m proof.fleet.worker`.

It consists of the product's engine, follower, deliverer and heartbeat. Whether a run lives is decided by its heartbeats in the
ledger, by the database's clock; process ids and the hosts' clocks play no part.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proof.clock import FastClock
from proof.faults.worker import Place, Worker, is_over
from resources.errors import DailiesError
from resources.ledger import decisions, deliveries, heartbeats
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.heartbeats import RunLostError
from resources.ledger.ledger import Ledger
from resources.ledger.outage import PATIENCE_SECONDS, RIDE_OUT_SECONDS
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.batch import Stage
from resources.production.engine import Engine
from resources.production.heartbeat import Heartbeat

LOST = 4
"""Exit code of a run that lost its claim."""


class FleetWorker(Worker):
    """The work of one process, on the database's clock."""

    def __init__(self, place: Path, name: str, *, patience: float) -> None:
        self._patience = patience
        super().__init__(Place.read(place), FastClock(0.0, 1.0))
        self.name = name

    def open_ledger(self) -> Ledger:
        """Open the ledger on its database's clock."""
        return Ledger(self.place.ledger_url, budget=Budget(), patience=self._patience)

    async def run(self, task: dict[str, Any]) -> None:
        """A run: it claims its life, decides about its clips or looks them up, and follows them until they are delivered."""

        @contextlib.contextmanager
        def opened() -> Iterator[Ledger]:
            with self.open_ledger() as ledger:
                yield ledger

        beating = Heartbeat(opened, self.name)
        beating.start()
        try:
            async with self.engine() as engine, beating.vouched_for(engine):
                if task["mode"] == "produce":
                    decided = await self._decide(engine, task["clips"])
                else:
                    decided = await engine.ledger.run(self._found, task["clips"])
                await self.follow(engine, decided, Stage.DELIVERED, clips=task["clips"])
        finally:
            beating.stop()

    async def _decide(self, engine: Engine, clips: list[str]) -> list[Decided]:
        requests = [self.place.clips[clip] for clip in clips]
        decision = Decision(self.name, batch=self.name, watched_by=self.name)
        return await engine.ledger.run(decisions.decide, requests, decision, run_id=self.name)

    def _found(self, ledger: Ledger, clips: list[str]) -> list[Decided]:
        return [
            Decided(a.request, Ruling.REUSED if a.state is AttemptState.DELIVERED else Ruling.ADOPTED, a)
            for a in ledger.latest_takes(clips).values()
        ]

    async def watch(self) -> None:
        """The completion sensors: a step every ten seconds, and a line on standard output for each collecting run that is due."""
        asked: dict[str, set[str]] = {}

        async def tick(engine: Engine) -> None:
            for account in self.place.urls:
                await engine.step(account)
            unreported = [
                attempt
                for account in self.place.urls
                for attempt in await engine.ledger.run(deliveries.unreported, account)
            ]
            watchers = {a.watched_by for a in unreported if a.watched_by is not None}
            living = await engine.ledger.run(_living, watchers | set(asked))
            for run in set(asked) - living:
                del asked[run]
            busy = set().union(*asked.values()) if asked else set()
            due = sorted({a.clip for a in unreported if _is_due(a, living) and a.clip not in busy})
            if due:
                run = f"collect-{secrets.token_hex(4)}"
                asked[run] = set(due)
                print(json.dumps({"mode": "collect", "run": run, "clips": due}), flush=True)

        await self.tick(tick)


def _is_due(attempt: Attempt, living: frozenset[str]) -> bool:
    return is_over(attempt) and attempt.watched_by not in living


def _living(ledger: Ledger, runs: set[str]) -> frozenset[str]:
    """The runs that have neither ended nor been declared lost."""
    over = set(heartbeats.ends(ledger, runs)) | set(heartbeats.lost(ledger, runs))
    return frozenset(runs - over)


def shorten(seconds: dict[str, int]) -> None:
    """Set shorter claims by their names in `heartbeats`; `delivery` is the lease of deliveries."""
    deliveries.LEASE_SECONDS = seconds.pop("delivery", deliveries.LEASE_SECONDS)
    for name, value in seconds.items():
        setattr(heartbeats, name, value)


def main() -> None:
    """Carry out one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--task", type=json.loads, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    task = options.task
    if task.get("ahead"):
        real, ahead = time.time, float(task["ahead"])
        time.time = lambda: real() + ahead
    shorten(dict(task.get("seconds") or {}))
    try:
        watches = task["mode"] == "watch"
        patience = PATIENCE_SECONDS if watches else RIDE_OUT_SECONDS
        worker = FleetWorker(options.place, task["run"], patience=patience)
        asyncio.run(worker.watch() if watches else worker.run(task))
    except RunLostError as error:
        print(f"lost: {error}", file=sys.stderr)
        sys.exit(LOST)
    except DailiesError as error:
        print(f"ended: {error}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
