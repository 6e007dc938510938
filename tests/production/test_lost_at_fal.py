"""Answers that are lost at fal: adopted exactly, with strangers on the same key ordering the same at the same second. Time is virtual."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fakes import Clock, Inline, run

from resources.ledger import keys
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.network.way_out import Network
from resources.orders import ClipRequest, Expected, SeedParameter
from resources.production.account import Account
from resources.production.engine import Engine
from resources.providers.registry import spec_of
from resources.providers.spec import Connection
from resources.sandbox import SandboxSettings, create_app
from resources.sandbox.faults import FaultScript

S = AttemptState
MODEL = "bytedance/seedance-2.0/text-to-video"
BODY = {"prompt": "a boat", "resolution": "720p", "duration": "5", "aspect_ratio": "16:9"}
PLACE = "http://127.0.0.1:1/fal"
OWN = SeedParameter(name="seed")


class Dated(httpx.ASGITransport):
    """The sandbox in this process, with the `Date` its server would send."""

    def __init__(self, app: Any, clock: Clock) -> None:
        super().__init__(app)
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        at = datetime.fromtimestamp(int(self._clock()), UTC)
        response.headers["Date"] = format_datetime(at, usegmt=True)
        return response


class Rig:
    """An account whose key others use, a ledger and an engine, on one clock."""

    def __init__(self, folder: Path, *, admin_key: str | None = "sandbox:admin") -> None:
        self.clock = Clock()
        self.app = create_app(SandboxSettings(spread=0, job_seconds=60), clock=self.clock)
        self.transport = Dated(self.app, self.clock)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=self.clock, budget=Budget())
        self.admin_key = admin_key
        keys.declare(self.ledger, "fal", False)

    def close(self) -> None:
        self.ledger.close()
        self.app.state.workshop.close()

    def fault(self, then: dict[str, Any], **when: Any) -> None:
        rule = {"name": "test", "when": {"provider": "fal", "operation": "submit", **when}, "then": then}
        self.app.state.workshop.faults.rules.extend(FaultScript.model_validate({"faults": [rule]}).faults)

    def engine(self) -> Engine:
        place = Connection(
            "fal", PLACE, "sandbox", Network(), self.clock, self.transport, admin_key=self.admin_key
        )
        engine = Engine(self.ledger, {"fal": Account(spec_of("fal").build(place))}, rng=random.Random(1))
        engine.ledger._thread.shutdown()
        engine.ledger._thread = cast("Any", Inline())
        return engine

    def decide(self, *clips: str, seed: SeedParameter | None, **changes: Any) -> None:
        orders = [
            ClipRequest(
                clip=clip,
                series="city",
                provider="fal",
                endpoint=MODEL,
                body={**BODY, **changes},
                price_micros=2_000_000,
                expected=Expected(),
                max_seconds=600,
                seed=seed,
            )
            for clip in clips
        ]
        decide(self.ledger, orders, Decision("monday"))

    async def a_stranger_buys(self, **changes: Any) -> None:
        async with httpx.AsyncClient(transport=self.transport) as client:
            answer = await client.post(
                f"{PLACE}/{MODEL}", json={**BODY, **changes}, headers={"Authorization": "Key sandbox"}
            )
            answer.raise_for_status()

    def until(self, *clips: str, going: set[AttemptState], also: Any = None) -> dict[str, Attempt]:
        async def ticks() -> None:
            engine = self.engine()
            while any(attempt.state in going for attempt in self.ledger.latest(clips).values()):
                await engine.step("fal")
                if also is not None:
                    await also()
                await asyncio.sleep(30)
            await engine.aclose()

        run(self.clock, ticks(), at_most=2 * 86_400)
        return self.ledger.latest(clips)

    @property
    def jobs(self) -> list[Any]:
        return cast("list[Any]", self.app.state.workshop.books.jobs("fal"))


GOING = {S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.SUBMITTED, S.OVERDUE}
LOSSES = [{"do": "lose_answer"}, {"do": "error_after", "status": 502}, {"do": "garbage"}]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def with_twins(rig: Rig, *, seeds: bool) -> Any:
    """Strangers order the same model with the same input at every tick; `seeds` gives theirs a seed, too."""
    numbers = iter(range(1, 4))

    async def buy() -> None:
        for number in numbers:
            await rig.a_stranger_buys(**({"seed": number} if seeds else {}))

    return buy


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["do"])
def test_a_lost_answer_is_adopted_exactly_among_strangers(rig: Rig, loss: dict[str, Any]) -> None:
    rig.fault(loss, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until("clip-a", going=GOING, also=with_twins(rig, seeds=True))["clip-a"]
    assert attempt.state is S.SUCCEEDED
    (mine,) = (job for job in rig.jobs if job.body["seed"] not in {1, 2, 3})
    assert attempt.job_id == mine.id
    assert len(rig.jobs) == 4


def test_without_a_seed_of_its_own_it_is_held(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.decide("clip-a", seed=None)
    attempt = rig.until("clip-a", going=GOING, also=with_twins(rig, seeds=False))["clip-a"]
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert "dailies resolve clip-a" in (attempt.reason or "")
    assert len(rig.jobs) == 4


def test_two_lost_answers_of_equal_orders_are_each_given_their_own(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=2)
    rig.decide("clip-a", "clip-b", seed=OWN)
    found = rig.until("clip-a", "clip-b", going=GOING)
    assert {attempt.state for attempt in found.values()} == {S.SUCCEEDED}
    assert {attempt.job_id for attempt in found.values()} == {job.id for job in rig.jobs}
    assert len(rig.jobs) == 2


def test_a_job_that_runs_is_not_listed_and_so_not_taken_for_absent(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.fault({"do": "take", "seconds": 3_000}, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until("clip-a", going=GOING)["clip-a"]
    assert attempt.state is S.SUCCEEDED
    assert len(rig.jobs) == 1


def test_what_the_bill_says_is_booked_to_the_cent(rig: Rig) -> None:
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until("clip-a", going=GOING)["clip-a"]
    assert attempt.quoted_micros == 2_000_000

    async def read_the_bill() -> None:
        engine = rig.engine()
        for _ in range(20):
            await engine.step("fal")
            await asyncio.sleep(600)
        await engine.aclose()

    run(rig.clock, read_the_bill(), at_most=86_400)
    billed = rig.ledger.latest(["clip-a"])["clip-a"]
    assert (billed.cost_micros, billed.charge_source) == (1_517_000, "bill")


def test_a_refusal_that_may_be_charged_counts_as_spent_until_the_bill_says_otherwise(tmp_path: Path) -> None:
    rig = Rig(tmp_path, admin_key=None)
    try:
        rig.fault({"do": "fail", "error": "violates the content policy"}, times=1)
        rig.decide("clip-a", seed=OWN)
        attempt = rig.until("clip-a", going=GOING)["clip-a"]
        assert attempt.state is S.FAILED
        assert (attempt.cost_micros, attempt.charge_source) == (2_000_000, "quote")
    finally:
        rig.close()
