"""The provider's side of a socket that misbehaves on purpose and stores every byte it receives."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

Behaviour = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = b""
        self._reader, self._writer = reader, writer

    async def read_headers(self) -> None:
        while b"\r\n\r\n" not in self.received:
            await self.read_some()

    async def read_request(self) -> None:
        await self.read_headers()
        head, _, body = self.received.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        missing = int(lengths[0]) - len(body) if lengths else 0
        if missing > 0:
            self.received += await self._reader.readexactly(missing)

    async def read_some(self) -> None:
        chunk = await self._reader.read(65536)
        self.received += chunk
        if not chunk:
            raise ConnectionError("the client went away")

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int, body: bytes, headers: str = "", length: int | None = None) -> None:
        size = len(body) if length is None else length
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n{headers}\r\n"
        await self.write(head.encode() + body)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._writer.transport.abort()


class HostileServer:
    """Listens on a free port and treats every connection as `behaviour` does."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.behaviour: Behaviour | None = None
        self.port = 0

    @property
    def received(self) -> bytes:
        """The bytes of all connections."""
        return b"".join(peer.received for peer in self.peers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        assert self.behaviour is not None
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.behaviour(peer)
        with contextlib.suppress(Exception):
            writer.close()
