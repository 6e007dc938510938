"""Connections that go to the address that was checked, kept open for the next file of the same host."""

import contextlib
import functools
import http.client
import io
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

import httpx
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from resources.storage.addresses import Target

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

NETWORK_ERRORS = (OSError, HTTPException, HTTPError)
"""Everything that `connect`, `ask`, `read_some` and the block of `strangers_bytes` raise."""

_MAX_IDLE = 16


class MalformedAnswerError(HTTPException):
    """The other side sent what cannot be read as HTTP."""


@contextlib.contextmanager
def strangers_bytes() -> Iterator[None]:
    """Turn whatever a stranger's bytes raise into one of `NETWORK_ERRORS`.

    http.client and urllib3 have errors of their own and raise others too: ValueError for a chunk whose size is `-c`, for a
    Content-Length of 5,000 digits and for a redirect to the host `.example.com`.
    """
    try:
        yield
    except NETWORK_ERRORS:
        raise
    except Exception as error:
        raise MalformedAnswerError(type(error).__name__) from error


class Connections:
    """Open connections of this process, by host and address. Threads may share it; one connection serves one at a time."""

    def __init__(self) -> None:
        self._idle: list[tuple[tuple[str, str, int, str], HTTPConnection]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, target: Target) -> HTTPConnection | None:
        """An open connection to one of the target's addresses, None where there is none."""
        with self._lock:
            if self._pid != os.getpid():
                self._idle, self._pid = (
                    [],
                    os.getpid(),
                )  # a forked child must not speak on its parent's connections
            for index, ((scheme, host, port, address), connection) in enumerate(self._idle):
                if (scheme, host, port) == (
                    target.scheme,
                    target.host,
                    target.port,
                ) and address in target.addresses:
                    del self._idle[index]
                    if connection.is_connected:
                        return connection
                    connection.close()
                    return None
        return None

    def give_back(self, target: Target, connection: HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            self._idle.append(((target.scheme, target.host, target.port, connection.host), connection))
            surplus = self._idle[:-_MAX_IDLE]
            del self._idle[:-_MAX_IDLE]
        for _, old in surplus:
            old.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


class Deadline:
    """The total time of a download, held by a timer that cuts the connection.

    A server that sends a byte now and then never runs into the timeout of a single read.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._connection: HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def watch(self, connection: HTTPConnection) -> None:
        """Cut this connection when the time is over; called again once it is connected."""
        self._connection = connection
        # an answer that closes the connection takes the socket away from it
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
        if current is not None:
            with contextlib.suppress(OSError):
                # not SSLSocket's own method, which would take the TLS object away under the reading thread
                socket.socket.shutdown(current, socket.SHUT_RDWR)


def connect(target: Target, *, connect_seconds: float, deadline: Deadline) -> HTTPConnection:
    """Connect to the first of the target's addresses that answers.

    Raises:
        OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: None does, or TLS fails.
    """
    for number, address in enumerate(target.addresses, start=1):
        connection = _connection(target, address, connect_seconds)
        deadline.watch(connection)
        try:
            with strangers_bytes():
                connection.connect()
        except NETWORK_ERRORS as error:
            connection.close()
            if number == len(target.addresses) or deadline.passed or isinstance(error, ssl.SSLError):
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
    """Send a request and read the head of the answer, and nothing of its body.

    Args:
        connection: To the target.
        target: What is asked for.
        method: In capitals.
        headers: Besides Host and User-Agent, which are ours.
        body: What is sent along.
        seconds: For the next bytes to leave or arrive.
        deadline: Of the whole.
    """
    deadline.watch(connection)
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)
    with strangers_bytes():
        connection.request(
            method,
            target.path,
            body=body,
            headers={**headers, "Host": target.host_header, "User-Agent": "dailies"},
            preload_content=False,
            decode_content=False,
            enforce_content_length=True,
        )
        return connection.getresponse()


def read_some(response: "HTTPResponse", amount: int) -> bytes:
    """The next bytes of an answer's body as they were sent, none at its end."""
    with strangers_bytes():
        return response.read(amount)


class _BoundedReader(io.BufferedReader):
    """Never reads to the end of the connection, however much comes: http.client does for a chunk of the size `-1`."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise MalformedAnswerError("a part of the answer has no size")
        return super().read(size)


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _BoundedReader(self.fp.detach())


def _connection(target: Target, address: str, connect_seconds: float) -> HTTPConnection:
    connection = (
        HTTPConnection(address, target.port, timeout=connect_seconds)
        if target.scheme == "http"
        else HTTPSConnection(
            address, target.port, timeout=connect_seconds, ssl_context=_tls(), server_hostname=target.host
        )
    )
    connection.response_class = _Response
    return connection


@functools.cache
def _tls() -> ssl.SSLContext:
    # the same authorities as for the providers' APIs: certifi's, or those of SSL_CERT_FILE
    return httpx.create_ssl_context()
