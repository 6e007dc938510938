"""A company's network: only a proxy resolves its names, and its servers have certificates of a private authority."""

import base64
import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.certificates import Authority

PAGE = b"<html><head><title>Access policy</title></head><body>Ask your administrator.</body></html>"


class Listener:
    """Serves every connection to a port of this machine in a separate thread."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self._serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family)
        self.port = int(self._socket.getsockname()[1])
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            self._serve(connection)

    def close(self) -> None:
        self._socket.close()


Cut = Callable[[int], bool]
"""Whether a tunnel ends now, by the number of bytes that the client has sent through it."""


def relay(client: socket.socket, server: socket.socket, cut: Cut = lambda _sent: False) -> None:
    """Forward bytes between two connections until one of them ends, or `cut` says so."""
    sent = 0
    while True:
        pending = [one for one in (client, server) if isinstance(one, ssl.SSLSocket) and one.pending()]
        ready = pending or select.select([client, server], [], [], 60)[0]
        if not ready:
            return
        for source in ready:
            piece = source.recv(65536)
            sent += len(piece) if source is client else 0
            if not piece or cut(sent):
                return
            (server if source is client else client).sendall(piece)


@dataclass
class CorporateProxy:
    """A forward proxy. Only the proxy resolves the network's names."""

    places: dict[str, int] = field(default_factory=dict)
    """Port of 127.0.0.1 by host."""
    login: str | None = None
    """`user:password` if the proxy requires it."""
    refuses: dict[str, int] = field(default_factory=dict)
    """Status of the proxy's answer, by host."""
    cuts: dict[str, Cut] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The first line of every request."""
    heads: list[bytes] = field(default_factory=list)
    opened: int = 0
    """Connections to the servers behind it."""
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _serve(self, client: socket.socket) -> None:
        if self.tls is not None:
            client = self.tls.wrap_socket(client, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece:
                return
            head += piece
        head, _, rest = head.partition(b"\r\n\r\n")
        self.heads.append(head)
        line = head.split(b"\r\n")[0].decode()
        self.asked.append(line)
        method, target, _ = line.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = parts.hostname or ""
        status = self._refusal(host, head)
        if status is not None:
            page = b"HTTP/1.1 %d Refused\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
            client.sendall(page % (status, len(PAGE), PAGE))
            return
        with socket.create_connection(("127.0.0.1", self.places[host])) as server:
            self.opened += 1
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                lines = head.split(b"\r\n")[1:]
                kept = [one for one in lines if not one.lower().startswith((b"proxy-", b"connection:"))]
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                first = f"{method} {path} HTTP/1.1".encode()
                server.sendall(b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n" + rest)
            relay(client, server, self.cuts.get(host, lambda _sent: False))

    def _refusal(self, host: str, head: bytes) -> int | None:
        if self.login is not None:
            wanted = b"Basic " + base64.b64encode(self.login.encode())
            if b"proxy-authorization: " + wanted not in head.replace(b"Proxy-A", b"proxy-a"):
                return 407
        return self.refuses.get(host, None if host in self.places else 502)

    def close(self) -> None:
        self._listener.close()


@dataclass
class Corporation:
    """The network: an authority, a proxy, and the servers behind both."""

    authority: Authority
    proxy: CorporateProxy
    fronts: dict[str, Listener] = field(default_factory=dict)

    def serve(self, host: str, port: int) -> str:
        """Put a server of this machine behind TLS and the proxy; returns its address in the network."""
        context = self.authority.issue(host).server()

        def serve(client: socket.socket) -> None:
            with (
                context.wrap_socket(client, server_side=True) as inside,
                socket.create_connection(("127.0.0.1", port)) as server,
            ):
                relay(inside, server)

        self.fronts[host] = front = Listener(serve)
        self.proxy.places[host] = front.port
        return f"https://{host}"

    @property
    def arrived(self) -> int:
        """Connections that reached a server, with or without the proxy."""
        return sum(front.accepted for front in self.fronts.values())

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables for access through the proxy."""
        login = f"{self.proxy.login}@" if self.proxy.login else ""
        return {
            "HTTPS_PROXY": self.proxy.url.replace("://", f"://{login}"),
            "HTTP_PROXY": self.proxy.url.replace("://", f"://{login}"),
            "SSL_CERT_FILE": str(self.authority.file),
        }


@contextlib.contextmanager
def corporation(folder: Path, **options: object) -> Iterator[Corporation]:
    """The network, in threads of this process."""
    made = Corporation(Authority.make(folder), CorporateProxy(**options))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.proxy.close()
        for front in made.fronts.values():
            front.close()


def without_proxies() -> list[str]:
    """Names of this process's variables that configure proxies and certificates."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
    names += ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    return [name for name in os.environ if name.upper() in names]
