"""Health, readiness and metrics of our servers, for the programs that monitor them.

`/healthz` and `/readyz` are answered before the guard, because a prober names the machine by its address, which is none of our hosts.
`/metrics` shows sums of money, so it stays behind the guard.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from resources.errors import DailiesError
from resources.guard import App, Receive, Scope, Send
from resources.ledger.ledger import Ledger
from resources.metrics import CONTENT_TYPE, TickTime, exposition

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
PLAIN = "text/plain; charset=utf-8"


class WithProbes:
    """An application that also answers `/healthz` and `/readyz`; everything else is the application's.

    Args:
        app: Guarded.
        open_ledger: Opens the ledger for one answer, or lends one that is open.
    """

    def __init__(self, app: App, open_ledger: Callable[[], AbstractContextManager[Ledger]]) -> None:
        self._app = app
        self._open = open_ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a probe, or pass the request on."""
        path = scope.get("path")
        if scope["type"] != "http" or path not in {HEALTH, READY} or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
        elif path == HEALTH:
            await _answer(send, 200, b"ok\n", PLAIN)
        else:
            ready = await asyncio.to_thread(self._is_ready)
            await _answer(
                send, 200 if ready else 503, b"ready\n" if ready else b"the ledger does not answer\n", PLAIN
            )

    def _is_ready(self) -> bool:
        try:
            with self._open() as ledger, ledger.read():
                return True
        except DailiesError:
            return False


class WithMetrics:
    """An application that also answers `/metrics`; it belongs behind the guard.

    Args:
        app: Answers everything else.
        open_ledger: Opens the ledger for one answer.
        ticks: Asks Dagster for our sensors' ticks.
    """

    def __init__(
        self, app: App, open_ledger: Callable[[], Ledger], ticks: Callable[[], Sequence[TickTime]] = tuple
    ) -> None:
        self._app = app
        self._open = open_ledger
        self._ticks = ticks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape, or pass the request on."""
        if scope["type"] != "http" or scope.get("path") != METRICS or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        try:
            await _answer(send, 200, await asyncio.to_thread(self._metrics), CONTENT_TYPE)
        except DailiesError as error:
            await _answer(send, 503, f"{error}\n".encode(), PLAIN)

    def _metrics(self) -> bytes:
        with self._open() as ledger:
            return exposition(ledger, self._ticks())


async def _answer(send: Send, status: int, body: bytes, kind: str) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
