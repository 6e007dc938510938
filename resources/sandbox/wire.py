"""Answers that a well-behaved server never gives: no answer at all, and half an answer."""

import asyncio
from collections.abc import AsyncIterable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT = "dailies.sandbox.transport"
"""The scope extension under which `resources.sandbox.server` hands over the connection."""


class Dropped(Response):
    """Drops the connection without a byte.

    If the server does not pass its connection on (httpx' in-process transport), it raises ConnectionResetError instead.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Abort the connection and wait until the server has noticed."""
        _transport(scope).abort()
        await _gone(receive)


class CutShort(Response):
    """Promises a whole body, sends only some pieces and drops the connection.

    Args:
        pieces: The bytes to send.
        status_code: HTTP status.
        headers: Headers, with the Content-Length of the whole body.
    """

    def __init__(self, pieces: AsyncIterable[bytes], *, status_code: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status_code, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces and drop the connection."""
        transport = _transport(scope)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        transport.close()
        await _gone(receive)


def _transport(scope: Scope) -> asyncio.Transport:
    # uvloop's transports are not of asyncio's class, so there is no type to check
    transport: asyncio.Transport | None = scope.get("extensions", {}).get(TRANSPORT)
    if transport is None:
        raise ConnectionResetError(
            "the sandbox drops this connection on purpose; there is no socket to close here"
        )
    return transport


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
