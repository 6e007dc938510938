"""Every allowed value of every page, sent to the sandbox by the real clients: the bytes, their acceptance, and the price."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_facts import PAGES, allowed_values, needed

from resources.catalogue import Catalogue
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Accepted, FailureKind, Rejected
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import SandboxSettings, create_app

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")


@dataclass
class Wire(httpx.AsyncBaseTransport):
    """A sandbox in this process, and the bytes of the last request to it."""

    app: Any
    bodies: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inner = httpx.ASGITransport(self.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        return await self._inner.handle_async_request(request)

    def client(self, provider: str) -> Any:
        kind = {"wavespeed": WaveSpeed, "aimlapi": AimlApi}[provider]
        return kind(Connection(provider, "http://127.0.0.1", "sandbox", transport=self))


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    app = create_app(SandboxSettings(balance_usd="100000", job_seconds=0))
    yield Wire(app)
    app.state.workshop.close()


async def submitted(wire: Wire, page: str, body: dict[str, Any]) -> Any:
    client = wire.client(PAGES[page].provider)
    return await client.submit(page, body, submission_id="s-1", deadline_seconds=10)


@pytest.mark.parametrize("page", PAGES)
async def test_values_are_sent_as_the_page_writes_them_and_accepted_at_the_catalogues_price(
    wire: Wire, page: str
) -> None:
    endpoint = CATALOGUE.get(page)
    # characters must be those of the account
    rows = [row for row in PAGES[page].rows if row.name not in {"prompt", "characters"}]
    for name, value in ((row.name, value) for row in rows for value in allowed_values(row)):
        body = endpoint.resolve("a hill", {**needed(PAGES[page]), name: value})
        outcome = await submitted(wire, page, body)
        assert isinstance(outcome, Accepted), outcome
        assert f'"{name}":{json.dumps(value, separators=(",", ":"))}'.encode() in wire.bodies[-1]
        job = wire.app.state.workshop.books.job(PAGES[page].provider, outcome.job_id)
        price = endpoint.price(body)
        assert price is None or job.price_micros == price, (name, value)
        # the sandbox fills in nothing: every default was sent
        assert set(job.params) <= set(body)


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        ("openai/sora-2/text-to-video", "size", "720x1280"),
        ("openai/sora-2/text-to-video", "duration", "4"),
        ("openai/sora-2-pro/text-to-video", "size", "7201280"),
        ("openai/sora-2-t2v", "resolution", "1080p"),
        ("openai/sora-2-pro-t2v", "duration", 16),
        ("bytedance/seedance-2-0", "provider", "openai"),
        ("bytedance/seedance-2.0/text-to-video", "duration", 16),
        ("openai/sora-2/text-to-video", "characters", ["char_of_somebody_else"]),
    ],
)
async def test_the_sandbox_refuses_values_that_the_catalogue_would_let_pass(
    wire: Wire, page: str, name: str, value: Any
) -> None:
    body = {**CATALOGUE.get(page).resolve("a hill", needed(PAGES[page])), name: value}
    outcome = await submitted(wire, page, body)
    assert isinstance(outcome, Rejected)
    assert outcome.kind is FailureKind.INVALID
