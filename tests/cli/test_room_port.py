"""`dailies up` holds the port that it announces for its room, so that no other home's room takes it."""

import socket
import sys
from pathlib import Path

import httpx
import pytest

from pipelines.cli import ports
from pipelines.cli.ports import free_port, listen_for_room
from pipelines.cli.stack import Stack, StackOptions
from resources.home import ROOM_PORT_FILE, room_address
from resources.server_thread import HOST, ServerThread
from resources.settings import Settings

ANSWERS_ONCE = """
import socket, sys
listening = socket.socket(fileno=int(sys.argv[1]))
connection, _ = listening.accept()
connection.sendall(b"ours")
"""


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> int:
    """The port that every home tries first."""
    port = free_port()
    monkeypatch.setattr(ports, "ROOM_PORT", port)
    return port


def test_two_homes_that_start_at_once_get_two_ports(usual: int, tmp_path: Path) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    with listen_for_room(homes[0]) as one, listen_for_room(homes[1]) as two:
        taken = [listening.getsockname()[1] for listening in (one, two)]
        assert taken[0] == usual != taken[1]
        assert [room_address(home) for home in homes] == [f"http://{HOST}:{port}/" for port in taken]


def test_the_next_start_has_the_same_port(usual: int, tmp_path: Path) -> None:
    with socket.create_server((HOST, usual)), listen_for_room(tmp_path) as listening:
        first = listening.getsockname()[1]
    with listen_for_room(tmp_path) as again:
        assert again.getsockname()[1] == first == int((tmp_path / ROOM_PORT_FILE).read_text())


@pytest.mark.slow
def test_the_rooms_process_serves_the_reserved_port(usual: int, tmp_path: Path) -> None:
    stack = Stack(Settings(DAILIES_HOME=tmp_path), StackOptions(port=3999))
    (tmp_path / "logs").mkdir()
    with listen_for_room(tmp_path) as listening:
        stack._room_socket = listening
        stack._spawn("room", [sys.executable, "-c", ANSWERS_ONCE, str(listening.fileno())])
        try:
            with socket.create_connection((HOST, usual), timeout=60) as browser:
                assert browser.recv(10) == b"ours"
        finally:
            stack.processes["room"].kill()
            stack.processes["room"].wait()


def test_a_room_that_is_restarted_serves_the_same_socket(usual: int, tmp_path: Path) -> None:
    async def app(_scope: object, _receive: object, send: object) -> None:
        assert callable(send)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with listen_for_room(tmp_path) as listening:
        for _ in range(2):
            server = ServerThread(listening=listening)
            server.start(app)
            assert (server.port, httpx.get(f"http://{HOST}:{usual}/", timeout=60).status_code) == (usual, 204)
            server.stop()
