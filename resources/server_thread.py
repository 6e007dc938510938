"""A server of dailies, by default on 127.0.0.1, in a thread beside the command that shows its address."""

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resources.guard import SERVER, CalmLoop

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
LEAVE_SECONDS = 3
"""How many seconds answers may continue after the stop: a browser holds a video open."""
_JOIN_SECONDS = 10


def calm_server(config: "uvicorn.Config") -> "uvicorn.Server":
    """A uvicorn server that hardly uses CPU while no request arrives."""
    import uvicorn

    class CalmServer(CalmLoop, uvicorn.Server):
        pass

    return CalmServer(config)


class ServerThread:
    """Serves a guarded application.

    Args:
        port: 0 for any free one. It is taken at once.
        host: The IP address to listen at.
        listening: A socket to serve instead; the caller closes it.
    """

    def __init__(self, port: int = 0, host: str = HOST, listening: socket.socket | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = listening.dup() if listening else socket.create_server((host, port), family=family)
        self.port = int(self._socket.getsockname()[1])
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self, app: Callable[..., Any]) -> None:
        """Begin to serve."""
        import uvicorn

        config = uvicorn.Config(app, lifespan="off", timeout_graceful_shutdown=LEAVE_SECONDS, **SERVER)
        self._server = calm_server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and give the port back."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_JOIN_SECONDS)
        self._socket.close()
