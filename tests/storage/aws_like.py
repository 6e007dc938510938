"""A stand-in for AWS over TLS: it accepts uploads that end with their checksum, and verifies the checksum before it stores them."""

import base64
import contextlib
import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AwsLike(ThreadingHTTPServer):
    """The server.

    Attributes:
        objects: The stored objects, by path.
        seen: Headers of every PUT.
        damage: Whether a byte of the next body is changed on the way.
        dies_after: Number of bytes of the next body after which the server hangs up.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.seen: list[dict[str, str]] = []
        self.damage = False
        self.dies_after: int | None = None

    def handle_error(self, request: object, client_address: object) -> None: ...


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AwsLike

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        data = self.server.objects.get(self.path)
        self._answer(404 if data is None else 200, data or b"", head=True)

    def do_PUT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(headers)
        if self.server.dies_after is not None:
            self.rfile.read(self.server.dies_after)
            self.server.dies_after = None
            self.close_connection = True
            return
        body, trailer = self._body(headers)
        if self.server.damage:
            body = body[:-1] + bytes([body[-1] ^ 1])
            self.server.damage = False
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        said = trailer.get("x-amz-checksum-sha256") or headers.get("x-amz-checksum-sha256")
        if said != digest:
            self._answer(400, b"<Error><Code>BadDigest</Code></Error>")
        elif headers.get("if-none-match") == "*" and self.path in self.server.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self.server.objects[self.path] = body
            self._answer(200, b"", {"x-amz-checksum-sha256": digest})

    def _body(self, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        if headers.get("content-encoding") != "aws-chunked":
            return self.rfile.read(int(headers["content-length"])), {}
        raw = (
            self._unchunked()
            if headers.get("transfer-encoding") == "chunked"
            else self.rfile.read(int(headers["content-length"]))
        )
        body = b""
        while True:
            line, _, raw = raw.partition(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                break
            body, raw = body + raw[:size], raw[size + 2 :]
        lines = [line.decode().partition(":") for line in raw.split(b"\r\n") if b":" in line]
        assert len(body) == int(headers["x-amz-decoded-content-length"])
        return body, {name.strip().lower(): value.strip() for name, _, value in lines}

    def _unchunked(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(
        self, status: int, body: bytes, more: dict[str, str] | None = None, *, head: bool = False
    ) -> None:
        self.send_response(status)
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        checksum = {"x-amz-checksum-sha256": digest} if head and status == 200 else {}
        for name, value in {"Content-Length": str(len(body)), **checksum, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)


@contextlib.contextmanager
def aws_like(context: ssl.SSLContext) -> Iterator[tuple[AwsLike, str]]:
    """A running server, and its address."""
    server: Any = AwsLike()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server, f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
