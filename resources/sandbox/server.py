"""A sandbox's server on 127.0.0.1, in this thread or in a separate one."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette

from resources.errors import ConfigurationError, UnavailableError
from resources.guard import CalmLoop
from resources.sandbox.app import create_app
from resources.sandbox.settings import SandboxSettings
from resources.sandbox.wire import TRANSPORT

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
_START_SECONDS = 20


@dataclass(frozen=True)
class RunningSandbox:
    """A running sandbox."""

    url: str
    """Its address without a slash at the end, which is the base URL of all providers."""
    app: Starlette
    """The application, with `app.state.workshop`."""


@contextmanager
def running_sandbox(
    settings: SandboxSettings | None = None, *, port: int = 0, clock: Callable[[], float] = time.time
) -> Iterator[RunningSandbox]:
    """Serve a sandbox from a thread while the block runs.

    Args:
        port: 0 for any free one.
        clock: See `create_app`.

    Raises:
        ConfigurationError: The settings are wrong or the port is in use.
        UnavailableError: The server did not start.
    """
    app = create_app(settings, clock=clock)
    try:
        listener = bind(port)
    except ConfigurationError:
        app.state.workshop.close()
        raise
    started = threading.Event()
    server = build_server(app, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
    thread.start()
    try:
        if not started.wait(_START_SECONDS):
            raise UnavailableError(f"the sandbox did not start within {_START_SECONDS} s")
        yield RunningSandbox(address(listener), app)
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)
        listener.close()


def bind(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.

    Raises:
        ConfigurationError: The port is in use or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigurationError(
            f"the sandbox cannot listen on {HOST}:{port} ({error}); choose another port, or 0 for any free one"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def build_server(app: Starlette, on_start: Callable[[], None]) -> "uvicorn.Server":
    """A uvicorn server that calls `on_start` when it answers.

    The app can drop its connections, and the app's clock dates the answers.
    """
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    clock = app.state.workshop.clock

    class SandboxProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Puts the connection into the scope of its requests, because ASGI has no event that drops it."""

        app: Any

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            inner = self.app

            async def outer(scope: Any, receive: Any, send: Any) -> None:
                async def dated(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        now = formatdate(clock(), usegmt=True).encode()
                        message = {**message, "headers": [*message.get("headers", ()), (b"date", now)]}
                    await send(message)

                scope.setdefault("extensions", {})[TRANSPORT] = transport
                await inner(scope, receive, dated)

            self.app = outer

    class Server(CalmLoop, uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start()

    config = uvicorn.Config(
        app,
        http=SandboxProtocol,
        access_log=False,
        date_header=False,
        timeout_keep_alive=75,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    return Server(config)
