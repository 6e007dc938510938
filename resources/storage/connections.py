"""Connections to checked addresses, kept open for the next file of the same host."""

import contextlib
import http.client
import io
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.exceptions import HTTPError

from resources.network.proxies import Proxy
from resources.storage.addresses import Target

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

NETWORK_ERRORS = (OSError, HTTPException, HTTPError)
"""Everything that `connect`, `ask`, `read_some` and the block of `strangers_bytes` raise."""

_MAX_IDLE = 16
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")


class MalformedAnswerError(HTTPException):
    """The other side sent something that is not HTTP."""


class ProxyError(OSError):
    """A proxy does not connect to the host; the text says why."""


@contextlib.contextmanager
def strangers_bytes() -> Iterator[None]:
    """Turn every error that bytes from outside cause into one of `NETWORK_ERRORS`.

    http.client and urllib3 raise other errors besides their own: ValueError for a chunk whose size is `-c`, for a
    Content-Length of 5,000 digits and for a redirect to the host `.example.com`.
    """
    try:
        yield
    except NETWORK_ERRORS:
        raise
    except Exception as error:
        raise MalformedAnswerError(type(error).__name__) from error


class Connections:
    """Open connections of this process, by host and address. Threads may share it; a connection serves one thread at a time."""

    def __init__(self) -> None:
        self._idle: list[tuple[tuple[str, str, int, tuple[str, int]], HTTPConnection]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, target: Target) -> HTTPConnection | None:
        """An open connection to one of the target's addresses, or through its proxy; None if there is none."""
        with self._lock:
            if self._pid != os.getpid():
                self._idle, self._pid = (
                    [],
                    os.getpid(),
                )  # a forked child must not use its parent's connections
            for index, ((scheme, host, port, peer), connection) in enumerate(self._idle):
                if (scheme, host, port) == (
                    target.scheme,
                    target.host,
                    target.port,
                ) and peer in target.peers:
                    del self._idle[index]
                    if connection.is_connected:
                        return connection
                    connection.close()
                    return None
        return None

    def give_back(self, target: Target, connection: HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            peer = connection.host, connection.port
            self._idle.append(((target.scheme, target.host, target.port, peer), connection))
            surplus = self._idle[:-_MAX_IDLE]
            del self._idle[:-_MAX_IDLE]
        for _, old in surplus:
            old.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


class Deadline:
    """The total time of a download, enforced by a timer that cuts the connection.

    A server that sends single bytes slowly never exceeds the timeout of a single read.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._connection: HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def watch(self, connection: HTTPConnection) -> None:
        """Cut this connection when the time is over. Call it again after the connection is established."""
        self._connection = connection
        # an answer that closes the connection removes the socket from it
        self._socket = connection.sock or self._socket

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        connection = self._connection
        current = (connection and connection.sock) or self._socket
        # TLS inside the TLS of a proxy wraps the socket once more
        current = getattr(current, "socket", current)
        if current is not None:
            with contextlib.suppress(OSError):
                # not SSLSocket's own method, which would remove the TLS object that the reading thread uses
                socket.socket.shutdown(current, socket.SHUT_RDWR)


def connect(target: Target, *, connect_seconds: float, deadline: Deadline) -> HTTPConnection:
    """Connect to the first of the target's addresses that answers, or through its proxy.

    Raises:
        ProxyError: The proxy does not connect to the host.
        OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: No address answers, or TLS fails.
    """
    for number, peer in enumerate(target.peers, start=1):
        connection = _connection(target, *peer, connect_seconds)
        deadline.watch(connection)
        try:
            with strangers_bytes():
                connection.connect()
        except NETWORK_ERRORS as error:
            connection.close()
            if target.proxy is not None:
                raise _proxy_error(error, target.proxy, target) from None
            if number == len(target.peers) or deadline.passed or isinstance(error, ssl.SSLError):
                raise
        else:
            return connection
    raise OSError("the name has no address")


def ask(
    connection: HTTPConnection,
    target: Target,
    headers: dict[str, str],
    *,
    read_seconds: float,
    deadline: Deadline,
) -> "HTTPResponse":
    """Send a GET and read the head of the answer. No cookies, no credentials, no redirects."""
    return send(
        connection,
        target,
        "GET",
        {"Accept-Encoding": "identity", **headers},
        seconds=read_seconds,
        deadline=deadline,
    )


def send(
    connection: HTTPConnection,
    target: Target,
    method: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    seconds: float,
    deadline: Deadline,
) -> "HTTPResponse":
    """Send a request and read the head of the answer, but nothing of its body.

    Args:
        connection: The connection to the target.
        target: The address.
        method: The method, in capitals.
        headers: Headers besides Host and User-Agent, which are ours.
        body: The body.
        seconds: The longest time until the next bytes are sent or arrive.
        deadline: The total time.
    """
    deadline.watch(connection)
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)
    path, of_proxy = target.path, {}
    if target.proxy is not None and target.scheme == "http":
        path, of_proxy = f"http://{target.host_header}{path}", target.proxy.headers
    with strangers_bytes():
        connection.request(
            method,
            path,
            body=body,
            headers={**headers, **of_proxy, "Host": target.host_header, "User-Agent": "dailies"},
            preload_content=False,
            decode_content=False,
            enforce_content_length=True,
        )
        return connection.getresponse()


def read_some(response: "HTTPResponse", amount: int) -> bytes:
    """The next bytes of an answer's body as they were sent; none at its end."""
    with strangers_bytes():
        return response.read(amount)


class _BoundedReader(io.BufferedReader):
    """Refuses a read without a size, as http.client makes for a chunk of the size `-1`, since it would be unbounded."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise MalformedAnswerError("a part of the answer has no size")
        return super().read(size)


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _BoundedReader(self.fp.detach())


def _connection(target: Target, host: str, port: int, connect_seconds: float) -> HTTPConnection:
    proxy, context = target.proxy, target.network.trust.context()
    if target.scheme == "http":
        connection = (
            HTTPSConnection(host, port, timeout=connect_seconds, ssl_context=context)
            if proxy is not None and proxy.scheme == "https"
            else HTTPConnection(host, port, timeout=connect_seconds)
        )
    else:
        connection = HTTPSConnection(
            host,
            port,
            timeout=connect_seconds,
            ssl_context=context,
            server_hostname=target.host,
            proxy_config=None if proxy is None else ProxyConfig(context, False, None, None),
        )
        if proxy is not None:
            # Python 3.11 sends CONNECT as HTTP/1.0, without a Host header
            headers = {"Host": f"{_bracketed(target.host)}:{target.port}", **proxy.headers}
            connection.set_tunnel(target.host, target.port, headers, proxy.scheme)
    connection.response_class = _Response
    return connection


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _proxy_error(error: Exception, proxy: Proxy, target: Target) -> Exception:
    """The error of connecting through a proxy; an error of the target's own TLS is returned unchanged."""
    refused = _NO_TUNNEL.search(str(error))
    if refused is not None:
        return ProxyError(proxy.refusal(int(refused[1]), target.host, target.port))
    if isinstance(error, ssl.SSLError):
        return error
    return ProxyError(f"the proxy {proxy} of {proxy.variable} does not answer")
