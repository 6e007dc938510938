"""Everybody gets an answer to a probe; only clients that the guard admits see sums of money."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from resources.errors import UnavailableError
from resources.guard import Guard, Guarded, Receive, Scope, Send
from resources.health import WithMetrics, WithProbes
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger


async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def client(opens: Callable[[], Ledger], host: str) -> httpx.AsyncClient:
    app = WithProbes(Guarded(WithMetrics(page, opens), Guard()), opens)
    # the port of the server's own socket is that of the address
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}:3000")


@pytest.fixture
def opens(tmp_path: Path) -> Callable[[], Ledger]:
    return lambda: Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget())


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_needs_no_configured_host(path: str, opens: Callable[[], Ledger]) -> None:
    async with client(opens, "10.1.2.3") as prober:
        answer = await prober.get(path)
        assert (answer.status_code, len(answer.text) < 10) == (200, True)
        assert (await prober.get("/")).status_code == 403
        # only the paths themselves are open
        assert (await prober.get(f"{path}/x")).status_code == 403
        assert (await prober.post(path)).status_code == 403


async def test_sums_of_money_are_behind_the_guard(opens: Callable[[], Ledger]) -> None:
    async with client(opens, "10.1.2.3") as stranger:
        assert (await stranger.get("/metrics")).status_code == 403
    async with client(opens, "127.0.0.1") as scraper:
        answer = await scraper.get("/metrics")
        assert answer.status_code == 200
        assert "dailies_runs 0.0" in answer.text
        assert (await scraper.get("/")).text == "the page"


async def test_without_the_ledger_the_process_is_alive_but_not_ready() -> None:
    def away() -> Ledger:
        raise UnavailableError("the database does not answer")

    async with client(away, "127.0.0.1") as prober:
        assert (await prober.get("/healthz")).status_code == 200
        assert (await prober.get("/readyz")).status_code == 503
        said = await prober.get("/metrics")
        assert (said.status_code, said.text) == (503, "the database does not answer\n")
