"""The guard before a real server: raw bytes, and the user on this machine who sent them."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import ValidationError

from pipelines.webserver import guard_of
from resources.guard import SERVER, Guarded
from resources.peers import GONE, user_of, users
from resources.settings import Settings

JSON = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Counted:
    """An application that counts its requests."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class Served:
    """The application on a port."""

    def __init__(self, app: Counted, port: int) -> None:
        self.app, self.port = app, port

    def status(self, text: str) -> int:
        """Send bytes; returns the status of the answer, 0 if there is none."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            try:
                connection.sendall(text.replace("PORT", str(self.port)).encode("latin-1"))
                head = connection.recv(4096)
            except ConnectionError:
                return 0
        return int(head.split()[1]) if head else 0


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    app = Counted()
    guarded: Any = Guarded(app, guard_of(frozenset()))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guarded, lifespan="off", **SERVER))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    give_up = time.monotonic() + 120
    while not server.started:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    yield Served(app, listener.getsockname()[1])
    server.should_exit = True
    thread.join(20)
    listener.close()


def test_a_program_of_our_own_user_is_served(served: Served) -> None:
    before = served.app.asked
    assert served.status(f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{JSON}") == 200
    assert served.status("GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n") == 200
    assert served.app.asked == before + 2


@pytest.mark.parametrize(
    "request_text",
    [
        f"POST /graphql HTTP/1.0\r\n{JSON}",
        f"POST /graphql HTTP/1.1\r\n{JSON}",
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT\r\n{JSON}",
        f"POST /graphql HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: 127.0.0.1:PORT\r\n{JSON}",
        f"POST http://127.0.0.1:PORT/graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{JSON}",
        f"POST /graphql?query=x HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{JSON}",
        f"POST /graphql?op=A#?query=x HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{JSON}",
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:1\r\n{JSON}",
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\norigin : null\r\n{JSON}",
        f"PUT /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX-HTTP-Method-Override: POST\r\n{JSON}",
        "POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0\r\n\r\n",
        "GET /graphql?query={version} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAccept: text/html\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX: " + "x" * (1 << 20) + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n" + "X: x\r\n" * 100_000 + "\r\n",
        "GET /" + "x" * (1 << 20) + " HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
    ],
)
def test_a_request_that_is_not_plainly_ours_never_reaches_the_application(
    served: Served, request_text: str
) -> None:
    before = served.app.asked
    assert served.status(request_text) not in range(200, 400)
    assert served.app.asked == before


def test_an_unfinished_request_delays_no_other_and_has_no_effect(served: Served) -> None:
    before = served.app.asked
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(50)]
    try:
        for number, connection in enumerate(slow):
            text = (
                "GET / HTTP/1.1\r\nHost: "
                if number % 2
                else f"POST / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{JSON}"[:-1]
            )
            connection.sendall(text.replace("PORT", str(served.port)).encode())
        assert served.status("GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n") == 200
    finally:
        for connection in slow:
            connection.close()
    assert served.status("GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n") == 200
    assert served.app.asked == before + 2


AS_NOBODY = """
import encodings.idna, os, socket, sys  # imported before this user can no longer read them
os.setgroups([]); os.setgid(65534); os.setuid(65534)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(sys.argv[2].encode())
if sys.argv[3] == "read":
    print(b"".join(iter(lambda: connection.recv(4096), b"")).decode())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="needs another user")
@pytest.mark.parametrize("then", ["read", "leave"])
def test_another_users_program_is_refused_even_if_it_ends_at_once(served: Served, then: str) -> None:
    """After a process has ended, the kernel shows its socket as root's."""
    before = served.app.asked
    request = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{JSON}"
    said = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(served.port), request, then],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
    if then == "read":
        assert said.startswith("HTTP/1.1 403")
        assert "DAILIES_ALLOWED_USERS" in said
    # requests are handled in their order
    assert served.status("GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n") == 200
    assert served.app.asked == before + 1


TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 185533 2 00
   1: 0100007F:0BB8 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 185534 2 00
   2: 0100007F:D431 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000  1001        0 185535 2 00
   3: 0100007F:D432 0100007F:0BB8 04 00000000:00000000 00:00000000 00000000     0        0 0 2 00
   4: 0100007F:D433 0100007F:0BB9 01 00000000:00000000 00:00000000 00000000  1002        0 185536 2 00
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is of a machine with the low byte first")
def test_the_kernels_table_shows_the_user_of_a_connection(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    table.write_text(TABLE)
    server = ("127.0.0.1", 3000)
    assert user_of(("127.0.0.1", 0xD431), server, table=table) == 1001
    assert user_of(("127.0.0.1", 0xD432), server, table=table) == GONE, "a closed socket reads as root's"
    assert user_of(("127.0.0.1", 0xD433), server, table=table) == GONE, "a socket of another server"
    assert user_of(("127.0.0.1", 0xD434), server, table=table) == GONE
    assert user_of(("::1", 0xD431), server, table=table) is None
    assert user_of(None, server, table=table) is None
    assert user_of(("127.0.0.1", 0xD431), ("socket", None), table=table) is None
    assert user_of(("127.0.0.1", 0xD431), server, table=tmp_path / "none") is None


def test_users_are_set_by_name_or_number() -> None:
    assert users(" root, 1001 ,") == {0, 1001}
    with pytest.raises(ValidationError, match="no user 'nobody-of-this-name'"):
        Settings(DAILIES_ALLOWED_USERS="nobody-of-this-name")
    assert Settings(DAILIES_ALLOWED_USERS="1001").allowed_users == {1001}
