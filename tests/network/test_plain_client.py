"""The plain client reuses a connection only for a moment: if a server closes it meanwhile, the request is lost."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from resources.network import transports
from resources.network.way_out import Network

UVICORN_CLOSES_AFTER = 5.0


class _Patient(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def connections() -> Iterator[tuple[str, list[object]]]:
    """The address of a server that closes no connection, and the connections to it."""
    made: list[object] = []

    class Counting(ThreadingHTTPServer):
        def process_request(self, request: object, client_address: object) -> None:
            made.append(client_address)
            super().process_request(request, client_address)  # type: ignore[arg-type]

    with Counting(("127.0.0.1", 0), _Patient) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("idle_seconds", "expected"), [(3600.0, 1), (0.0, 2)])
def test_an_idle_connection_is_not_reused(
    connections: tuple[str, list[object]], monkeypatch: pytest.MonkeyPatch, idle_seconds: float, expected: int
) -> None:
    url, made = connections
    monkeypatch.setattr(transports, "CLIENT_IDLE_SECONDS", idle_seconds)
    with transports.client(Network.of({}), url, timeout_seconds=120) as client:
        for _ in range(2):
            assert client.get(url).status_code == 200
    assert len(made) == expected


def test_the_client_closes_a_connection_long_before_dagsters_webserver_does() -> None:
    assert transports.CLIENT_IDLE_SECONDS <= UVICORN_CLOSES_AFTER / 2
