"""The bill of a real sandbox, read by the real clients: failures are refunded, successes confirmed, and no difference remains."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import a_request

from pipelines.cli import statement as shown
from resources.ledger import bills, statement, stops
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.stops import StopKind
from resources.money import usd
from resources.production.account import Account
from resources.production.engine import Engine
from resources.providers.aimlapi.client import AimlApi
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from resources.settings import Settings

S, M = AttemptState, MoneyState
ENDPOINTS = {"wavespeed": "openai/sora-2/text-to-video", "aimlapi": "openai/sora-2-t2v"}
CLIENTS: dict[str, Any] = {"wavespeed": WaveSpeed, "aimlapi": AimlApi}
BODIES: dict[str, dict[str, Any]] = {
    "wavespeed": {"size": "1280*720", "duration": 4},
    "aimlapi": {"resolution": "720p", "aspect_ratio": "16:9", "duration": 4},
}
CLIPS = ["calm-sea", "storm", "harbour"]


class Ahead:
    """The wall clock, moved forward by the test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0)) as running:
        yield running


@pytest.fixture(params=["wavespeed", "aimlapi"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Shop:
    """A ledger and an engine on a sandbox's account."""

    def __init__(self, sandbox: RunningSandbox, name: str, tmp_path: Path) -> None:
        self.sandbox, self.name, self.clock = sandbox, name, Ahead()
        self.url = f"sqlite:///{tmp_path}/ledger.db"
        self.ledger = Ledger(self.url, clock=self.clock, budget=Budget())

    def inject(self, when: dict[str, Any], then: dict[str, Any]) -> None:
        rule = {"name": "test", "when": {"provider": self.name, **when}, "then": then}
        assert httpx.post(f"{self.sandbox.url}/admin/faults", json={"faults": [rule]}).status_code == 200

    def settings(self, **changes: Any) -> None:
        assert httpx.post(f"{self.sandbox.url}/admin/settings", json=changes).status_code == 200

    def books(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.sandbox.url}/admin/books").json())

    def buy(self, price: str) -> None:
        requests = [
            a_request(
                clip,
                provider=self.name,
                endpoint=ENDPOINTS[self.name],
                body={"prompt": clip, **BODIES[self.name]},
                price_micros=usd(price),
            )
            for clip in CLIPS
        ]
        decide(self.ledger, requests, Decision("monday"))

    def steps(self, *pauses: float) -> None:
        """Steps of the engine with pauses of this many seconds."""

        async def work() -> None:
            provider = CLIENTS[self.name](
                Connection(self.name, self.sandbox.url, "sandbox", clock=self.clock)
            )
            engine = Engine(self.ledger, {self.name: Account(provider)})
            try:
                for pause in pauses:
                    self.clock.seconds += pause
                    await engine.step(self.name)
            finally:
                await engine.aclose()

        asyncio.run(work())

    def money(self) -> dict[str, tuple[AttemptState, MoneyState, str | None]]:
        return {
            clip: (attempt.state, attempt.money_state, attempt.charge_source)
            for clip, attempt in self.ledger.latest(CLIPS).items()
        }


@pytest.fixture
def shop(sandbox: RunningSandbox, name: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(sandbox, name, tmp_path)
    yield shop
    shop.ledger.close()


@pytest.mark.slow
def test_successes_are_confirmed_and_failures_cost_nothing_in_the_end(shop: Shop) -> None:
    shop.inject(
        {"operation": "submit", "prompt_contains": "storm"}, {"do": "fail", "code": 1405, "error": "no GPU"}
    )
    shop.settings(refund_seconds=3600)
    shop.buy("1.00")
    shop.steps(0, 10, 0)
    charges = {entry["body"]["prompt"]: entry for entry in shop.books()["jobs"]}
    paid = charges["calm-sea"]["price_micros"]
    attempts = shop.ledger.latest(CLIPS)
    for clip in ("calm-sea", "harbour"):
        assert shop.money()[clip] == (S.SUCCEEDED, M.CONFIRMED, "bill")
        assert attempts[clip].charged_micros == paid
    failed = M.REFUND_EXPECTED if shop.name == "wavespeed" else M.RELEASED
    assert shop.money()["storm"][:2] == (S.FAILED, failed)
    counted = 3 * paid if shop.name == "wavespeed" else 2 * paid
    assert statement.statement(shop.ledger).total.micros == counted
    shop.settings(refund_seconds=0)
    shop.steps(bills.READ_SECONDS, bills.READ_SECONDS)
    assert shop.money()["storm"][1] in {M.REFUNDED, M.RELEASED}
    assert statement.statement(shop.ledger).total.micros == 2 * paid
    account = shop.books()["accounts"][shop.name]
    assert account["charged_micros"] - account["refunded_micros"] == 2 * paid
    assert stops.stops(shop.ledger) == []


@pytest.mark.slow
def test_a_catalogue_whose_price_is_too_low_is_noticed_at_the_first_bill(shop: Shop) -> None:
    shop.buy("0.10")
    shop.steps(0, 10, 0)
    (stop,) = stops.stops(shop.ledger)
    assert (stop.account, stop.kind) == (shop.name, StopKind.OVERCHARGED)
    assert "more than" in stop.reason


@pytest.mark.slow
def test_an_account_without_credit_stops_and_reopens_by_itself(shop: Shop) -> None:
    shop.settings(balance_usd="0.01")
    shop.buy("1.00")
    shop.steps(0, 10)
    (stop,) = stops.stops(shop.ledger)
    assert stop.kind is StopKind.INSUFFICIENT_FUNDS
    assert {money[0] for money in shop.money().values()} == {S.QUEUED}
    assert shop.books()["jobs"] == []
    shop.settings(balance_usd="100")
    shop.steps(stops.PROBE_SECONDS + 1, 10)
    assert stops.stops(shop.ledger) == []
    assert len(shop.books()["jobs"]) == len(CLIPS)


@pytest.mark.slow
def test_the_check_finds_nothing_unaccounted_and_names_a_strangers_job(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.buy("1.00")
    shop.steps(0, 10)
    keys = {"wavespeed": "WAVESPEED_API_KEY", "aimlapi": "AIMLAPI_API_KEY"}
    monkeypatch.setenv(keys[shop.name], "sandbox")
    monkeypatch.setenv(f"DAILIES_{shop.name.upper()}_URL", shop.sandbox.url)
    settings = Settings(DAILIES_LEDGER_URL=shop.url)
    account = shown.report(settings, check=True, days=1)
    assert account.differences == []
    assert not account.is_wrong
    assert account.statement.total.billed_micros == account.statement.total.micros > 0

    async def stranger() -> None:
        client = CLIENTS[shop.name](Connection(shop.name, shop.sandbox.url, "sandbox"))
        body = {"prompt": "not ours", **BODIES[shop.name]}
        await client.submit(ENDPOINTS[shop.name], body, submission_id="x", deadline_seconds=10)
        await client.aclose()

    asyncio.run(stranger())
    account = shown.report(settings, check=True, days=1)
    (difference,) = account.differences or []
    assert difference.clip is None
    assert "not a job of this ledger" in difference.why
    assert account.is_wrong
    document = shown.document(account)
    assert document["unaccounted"][0]["ledger_usd"] == "0"
    target = tmp_path / "account.csv"
    assert shown.write_csv(shop.ledger, str(target)) == len(CLIPS)
    header, *rows = target.read_text().splitlines()
    assert header.split(",") == list(shown.COLUMNS)
    assert sorted(row.split(",")[1] for row in rows) == sorted(CLIPS)
