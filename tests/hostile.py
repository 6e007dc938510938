"""A small HTTP server with hostile answers: cut, changed, wrong, endless or slow."""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(range(256)) * 8192


@dataclass
class File:
    """One file of the server, and how the server sends it."""

    data: bytes = MP4
    etag: str | None = '"one"'
    content_type: str = "video/mp4"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    heeds_if_range: bool = True
    cuts: list[int] = field(default_factory=list)
    """For each of the next answers, the number of body bytes after which it is cut."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers, which precede any file."""
    length: int | None = None
    """A wrong Content-Length."""
    after_cut: Callable[["File"], None] | None = None
    drip_seconds: float = 0
    seen: list[dict[str, str]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """Port of the client; the same port twice means a reused connection."""


class Hostile(ThreadingHTTPServer):
    """The server; `files` maps paths to files."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None: ...

    def url(self, path: str = "/clip.mp4") -> str:
        return f"{self.origin}{path}?token=canary-signature"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hostile

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None:
            return self._plain(404)
        file.seen.append(dict(self.headers.items()))
        file.ports.append(self.client_address[1])
        if file.statuses:
            return self._plain(file.statuses.pop(0))
        if file.status != 200:
            return self._plain(file.status, file.headers)
        return self._send(file)

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, file: File) -> None:
        start = 0
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") == file.etag or not file.heeds_if_range
        if asked and file.ranges and same:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        # no copy: tests measure this process's memory, and on a busy machine a download continues at the byte where it was cut
        body: bytes | memoryview = memoryview(file.data)[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(file.data) - 1}/{len(file.data)}")
        if file.etag:
            self.send_header("ETag", file.etag)
        self.send_header("Content-Type", file.content_type)
        if "Transfer-Encoding" not in file.headers:
            self.send_header("Content-Length", str(len(body) if file.length is None else file.length - start))
        for name, value in file.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if file.drip_seconds:
            return self._drip(file, body)
        if "Transfer-Encoding" in file.headers:
            body = b"".join(
                b"%x\r\n%s\r\n" % (len(p), p)
                for p in (body[n : n + 99_999] for n in range(0, len(body), 99_999))
            )
            body += b"0\r\n\r\n"
        if file.cuts:
            body = body[: file.cuts.pop(0)]
            self.close_connection = True
            if file.after_cut:
                file.after_cut(file)
        elif file.length is not None and file.length > len(file.data):
            self.close_connection = True
        self.wfile.write(body)
        return None

    def _drip(self, file: File, body: bytes | memoryview) -> None:
        self.close_connection = True
        for byte in body:
            self.wfile.write(bytes([byte]))
            time.sleep(file.drip_seconds)


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    """A running server, with TLS if a context is given."""
    server = Hostile()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.origin = server.origin.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
