"""Connections that go to the address that was checked, kept open for the next file of the same host."""

import contextlib
import functools
import os
import socket
import ssl
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING, Self

import httpx
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from resources.storage.addresses import Target

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

NETWORK_ERRORS = (OSError, HTTPException, HTTPError)
"""Everything a connection raises when the network or the server is at fault."""

_MAX_IDLE = 16


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
        OSError, urllib3.exceptions.HTTPError: None does, or TLS fails.
    """
    for number, address in enumerate(target.addresses, start=1):
        connection = _connection(target, address, connect_seconds)
        deadline.watch(connection)
        try:
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
    deadline.watch(connection)
    connection.timeout = read_seconds
    if connection.sock is not None:
        connection.sock.settimeout(read_seconds)
    connection.request(
        "GET",
        target.path,
        headers={
            "Host": target.host_header,
            "User-Agent": "dailies",
            "Accept-Encoding": "identity",
            **headers,
        },
        preload_content=False,
        decode_content=False,
        enforce_content_length=True,
    )
    return connection.getresponse()


def _connection(target: Target, address: str, connect_seconds: float) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(address, target.port, timeout=connect_seconds)
    return HTTPSConnection(
        address, target.port, timeout=connect_seconds, ssl_context=_tls(), server_hostname=target.host
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    # the same authorities as for the providers' APIs: certifi's, or those of SSL_CERT_FILE
    return httpx.create_ssl_context()
