"""A server that answers every connection with given bytes and closes it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[bytes], bytes]
"""The bytes to send, from the head of the request."""


class RawServer:
    """The server; `answer` gives the bytes to send, and `requests` has all received heads."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            head = b""
            while b"\r\n\r\n" not in head and (some := connection.recv(65536)):
                head += some
            self.requests.append(head)
            connection.sendall(self.answer(head))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def answering(answer: Answer | bytes) -> Iterator[RawServer]:
    """A running server."""
    server = RawServer(answer if callable(answer) else lambda _: answer)
    try:
        yield server
    finally:
        server.close()
