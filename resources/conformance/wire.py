"""The connection of a client and its front in this process; it loses, cuts and changes requests and answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx

PAGE = b"<html><body><h1>Something went wrong</h1></body></html>"
PIECE = b"x" * 65_536
ENDLESS_BYTES = 64_000_000
"""Bytes after which an endless answer ends, so that a wrong client does not hang the kit."""

Forward = Callable[[], Awaitable[httpx.Response]]
Mishap = Callable[[httpx.Request, Forward], Awaitable[httpx.Response]]
"""Handles a request: may forward it to the front, and may return another answer."""


@dataclass(frozen=True)
class Sent:
    """A request that a client has sent."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    body: bytes

    @property
    def call(self) -> str:
        """Method and path, as `DocumentedWire.calls` matches them."""
        return f"{self.method} {self.url.path}"


class Wire(httpx.AsyncBaseTransport):
    """Carries requests to the sandbox's application.

    Args:
        app: The application.
        clock: The provider's clock, which dates the answers.
    """

    def __init__(self, app: Any, clock: Callable[[], float]) -> None:
        self._app = httpx.ASGITransport(app)
        self._clock = clock
        self.sent: list[Sent] = []
        self.mishap: Mishap | None = None
        self.only: Callable[[Sent], bool] = lambda _sent: True
        """The requests to which the mishap applies."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        await request.aread()
        sent = Sent(request.method, request.url, request.headers, request.content)
        self.sent.append(sent)

        async def forward() -> httpx.Response:
            answer = await self._app.handle_async_request(request)
            await answer.aread()
            return self._dated(answer.status_code, answer.content, dict(answer.headers))

        if self.mishap is None or not self.only(sent):
            return await forward()
        return await self.mishap(request, forward)

    def _dated(self, status: int, content: bytes, headers: dict[str, str]) -> httpx.Response:
        headers.pop("content-length", None)
        headers["date"] = format_datetime(datetime.fromtimestamp(int(self._clock()), UTC), usegmt=True)
        return httpx.Response(status, headers=headers, content=content)


def never_sent(error: Exception) -> Mishap:
    """The request does not leave this machine."""

    async def happen(_request: httpx.Request, _forward: Forward) -> httpx.Response:
        raise error

    return happen


def lost(error: Exception) -> Mishap:
    """The request is carried out, and its answer does not arrive."""

    async def happen(_request: httpx.Request, forward: Forward) -> httpx.Response:
        await forward()
        raise error

    return happen


def answered(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> Mishap:
    """The request is carried out, and the answer is replaced."""

    async def happen(_request: httpx.Request, forward: Forward) -> httpx.Response:
        await forward()
        return httpx.Response(status, content=content, headers=headers)

    return happen


def instead(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> Mishap:
    """The request is not carried out, and gets this answer."""

    async def happen(_request: httpx.Request, _forward: Forward) -> httpx.Response:
        return httpx.Response(status, content=content, headers=headers)

    return happen


def changed(change: Callable[[Any], Any]) -> Mishap:
    """The answer's JSON is changed. An answer that is not JSON stays."""

    async def happen(_request: httpx.Request, forward: Forward) -> httpx.Response:
        answer = await forward()
        try:
            document = change(json.loads(answer.content))
        except ValueError:
            return answer
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, content=json.dumps(document).encode(), headers=headers)

    return happen


async def cut(_request: httpx.Request, forward: Forward) -> httpx.Response:
    """The answer breaks off in its middle."""
    answer = await forward()
    return httpx.Response(answer.status_code, headers=answer.headers, stream=_Cut(answer.content))


def endless(read: list[int], status: int) -> Mishap:
    """The request is carried out, and its answer does not end; `read` receives the number of bytes read."""

    async def happen(_request: httpx.Request, forward: Forward) -> httpx.Response:
        await forward()
        return httpx.Response(status, stream=_Endless(read))

    return happen


class _Cut(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content[: len(self._content) // 2]
        raise httpx.ReadError("the connection was reset")


class _Endless(httpx.AsyncByteStream):
    def __init__(self, read: list[int]) -> None:
        self._read = read

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        while taken < ENDLESS_BYTES:
            taken += len(PIECE)
            self._read.append(len(PIECE))
            yield PIECE
