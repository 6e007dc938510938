"""A small HTTP/1.1 server on asyncio streams that can also do what servers must not: fall silent, break off, lie."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGEST_BODY = 1_000_000


@dataclass(frozen=True)
class Request:
    """One request, read to its end.

    Attributes:
        method: In capitals.
        path: Decoded, without the query.
        query: First value by name.
        headers: By name in lower case.
        body: As it came.
        port: Of the client, by which the bench finds its process.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    port: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """The body as an object, an empty one where it is none."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    Attributes:
        status: HTTP status.
        body: Bytes.
        headers: Besides the length.
        content_type: Of the body.
        cut_at: Send so many bytes of the body and break the connection, None for all of it.
        silent: Send nothing and break the connection.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut_at: int | None = None
    silent: bool = False


SILENCE = Answer(0, silent=True)


def document(status: int, content: object, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(content).encode(), headers or {})


Handler = Callable[[Request], Awaitable[Answer]]


class Server:
    """Serves one handler on a port of 127.0.0.1.

    Args:
        handler: Makes the answers; an error of its own ends the connection.
        date: The Date header, which may be wrong.
    """

    def __init__(self, handler: Handler, date: Callable[[], str]) -> None:
        self._handler = handler
        self._date = date
        self._server: asyncio.Server | None = None

    async def listen(self, port: int = 0) -> int:
        """Start; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            port = int(writer.get_extra_info("peername")[1])
            while (request := await _read(reader, port)) is not None:
                answer = await self._handler(request)
                if not await self._send(writer, request, answer):
                    break
        # a reset where something was left out, so that the other side notices at once
        writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, request: Request, answer: Answer) -> bool:
        """Send an answer; whether the connection goes on."""
        if answer.silent:
            return False
        phrase = HTTPStatus(answer.status).phrase
        keep = request.headers.get("connection", "").lower() != "close"
        lines = [
            f"HTTP/1.1 {answer.status} {phrase}",
            f"date: {self._date()}",
            f"content-type: {answer.content_type}",
            f"content-length: {len(answer.body)}",
            f"connection: {'keep-alive' if keep else 'close'}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        writer.write(answer.body if answer.cut_at is None else answer.body[: answer.cut_at])
        await writer.drain()
        if answer.cut_at is not None or not keep:
            # what was written must get through before the connection is broken off
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return False
        return True


async def _read(reader: asyncio.StreamReader, port: int) -> Request | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _version = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in {b"\r\n", b"\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > LARGEST_BODY:
        raise ValueError("too large")
    body = await reader.readexactly(length)
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    return Request(method, unquote(parts.path), query, headers, body, port)
