import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hostile_server import Behaviour, HostileServer


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[HostileServer]]]:
    """Start a server with a given behaviour; it is closed after the test."""
    running: list[tuple[asyncio.Server, HostileServer]] = []

    async def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> HostileServer:
        hostile = HostileServer()
        hostile.behaviour = behaviour
        server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0, ssl=tls)
        hostile.port = server.sockets[0].getsockname()[1]
        running.append((server, hostile))
        return hostile

    yield start
    for server, hostile in running:
        server.close()
        for peer in hostile.peers:
            peer.reset()


@pytest.fixture
async def forward() -> Callable[[float], None]:
    """Moves this test's event loop ahead by some seconds: all waits up to then are over at once."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0

    def time() -> float:
        return real() + ahead

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    loop.time = time  # type: ignore[method-assign]
    return move
