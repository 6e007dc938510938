"""An account with a shared key at a provider whose listing shows requests; the sandbox's books show what was really bought."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import httpx
from fakes import run

from proof.clock import Clock
from resources.ledger import keys
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.network.way_out import Network
from resources.orders import ClipRequest, Expected, Seed
from resources.production.account import Account
from resources.production.engine import Engine
from resources.providers.base import Accepted
from resources.providers.provider import Provider
from resources.providers.registry import spec_of
from resources.providers.spec import Connection
from resources.sandbox import SandboxSettings, create_app
from resources.sandbox.faults import FaultScript

S = AttemptState
OWN = Seed(name="seed")
GOING = {S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.SUBMITTED, S.OVERDUE}
LOSSES = [{"do": "lose_answer"}, {"do": "error_after", "status": 502}, {"do": "garbage"}]


class Dated(httpx.ASGITransport):
    """The sandbox in this process, with the `Date` header that its server would send."""

    def __init__(self, app: Any, clock: Callable[[], float]) -> None:
        super().__init__(app)
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        at = datetime.fromtimestamp(int(self._clock()), UTC)
        response.headers["Date"] = format_datetime(at, usegmt=True)
        return response


class Rig:
    """A ledger, an engine and the sandbox on one virtual clock."""

    def __init__(
        self, folder: Path, name: str, model: str, body: dict[str, Any], *, admin_key: str | None = None
    ) -> None:
        self.name, self.model, self.body, self.admin_key = name, model, body, admin_key
        self.clock = Clock()
        self.app = create_app(SandboxSettings(spread=0, job_seconds=60), clock=self.clock)
        self.transport = Dated(self.app, self.clock)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=self.clock, budget=Budget())
        keys.declare(self.ledger, name, dedicated=False)

    def close(self) -> None:
        self.ledger.close()
        self.app.state.workshop.close()

    def fault(self, then: dict[str, Any], **when: Any) -> None:
        rule = {"name": "test", "when": {"provider": self.name, "operation": "submit", **when}, "then": then}
        self.app.state.workshop.faults.rules.extend(FaultScript.model_validate({"faults": [rule]}).faults)

    def client(self) -> Provider:
        spec = spec_of(self.name)
        place = f"http://127.0.0.1:1{spec.sandbox_path}"
        return spec.build(
            Connection(
                self.name,
                place,
                "sandbox",
                Network(),
                self.clock,
                self.transport,
                admin_key=self.admin_key,
            )
        )

    def engine(self) -> Engine:
        return Engine(self.ledger, {self.name: Account(self.client())}, rng=random.Random(1))

    def decide(self, *clips: str, seed: Seed | None) -> None:
        orders = [
            ClipRequest(
                clip=clip,
                series="city",
                provider=self.name,
                endpoint=self.model,
                body=self.body,
                price_micros=2_000_000,
                expected=Expected(),
                max_seconds=600,
                seed=seed,
            )
            for clip in clips
        ]
        decide(self.ledger, orders, Decision("monday"))

    def twins(self, *seeds: int | None) -> Callable[[], Awaitable[None]]:
        """At the next tick, strangers order the same model with the same input, each with a separate seed or with none."""
        waiting = list(seeds)

        async def buy() -> None:
            while waiting:
                seed = waiting.pop()
                body = self.body if seed is None else {**self.body, "seed": seed}
                client = self.client()
                bought = await client.submit(
                    self.model, body, submission_id="a-stranger", deadline_seconds=30
                )
                assert isinstance(bought, Accepted)
                await client.aclose()

        return buy

    def until_ended(
        self, *clips: str, also: Callable[[], Awaitable[None]] | None = None
    ) -> dict[str, Attempt]:
        """Tick the sensor until every clip has ended."""

        async def ticks() -> None:
            engine, began = self.engine(), self.clock()
            while any(attempt.state in GOING for attempt in self.ledger.latest(clips).values()):
                await engine.step(self.name)
                if also is not None:
                    await also()
                # after the minutes in which jobs end, only the provider's settle time passes
                await asyncio.sleep(30 if self.clock() - began < 600 else 180)
            await engine.aclose()

        run(self.clock, ticks(), at_most=2 * 86_400)
        return self.ledger.latest(clips)

    @property
    def jobs(self) -> list[Any]:
        return cast("list[Any]", self.app.state.workshop.books.jobs(self.name))
