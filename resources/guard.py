"""The guard decides which requests a server on this machine carries out.

A loopback port is no border. Every web page in a browser on this machine can send requests to it, and a name that changes its
address (DNS rebinding) makes them look like the server's own. A bare Dagster webserver bought a clip after one GET from a page
on another port. The rule is pure; `Guarded` puts it before an ASGI application.
"""

import asyncio
import contextlib
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from resources.authorities import AUTHORITY, Authority
from resources.errors import ConfigurationError
from resources.peers import ROOT, user_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
READS = frozenset({"GET", "HEAD"})
BODY_LIMIT = 16 << 20
"""Most bytes of a body; the largest launch of Dagster's UI has a few hundred kilobytes."""
BODY_SECONDS = 30.0
HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""Headers of every answer: no other page may show it in a frame, embed it or keep a reference to its window."""
REFUSED = "x-dailies-refused"
"""A header of refusals, which tells our own command that nothing was carried out."""
SERVER: dict[str, Any] = {
    # h11 bounds a request's headers, httptools does not
    "http": "h11",
    "h11_max_incomplete_event_size": 64 << 10,
    # no header that names another client is believed
    "proxy_headers": False,
    "server_header": False,
    "access_log": False,
    "log_level": "warning",
}
"""uvicorn's options for a guarded application."""


class CalmLoop:
    """For a uvicorn server, before its class: it looks once a second whether it should end, and not ten times.

    An idle server cost 5 s of a processor an hour for looking. `should_exit` wakes it, so it ends at once.
    """

    _should_exit = False
    _wake: Callable[[], object] | None = None

    @property
    def should_exit(self) -> bool:
        """Whether the server is to end; set by a signal or by its owner."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so the server has ended
                self._wake()

    async def main_loop(self) -> None:
        """Serve until `should_exit`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(woken.set)
        while not await self.on_tick(0):  # type: ignore[attr-defined]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), 1.0)


_ORIGIN = re.compile(rf"(https?)://{AUTHORITY}")
_JSON = re.compile(r'application/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?', re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class GuardedRequest:
    """The part of a request that the rule reads."""

    method: str
    path: str
    query: str
    port: int | None
    """Port of the server's own socket; None without a socket, which means 80."""
    headers: tuple[tuple[str, str], ...]
    is_websocket: bool = False
    user: int | None = None
    """The id of the user on this machine that sent it; None if it is not known."""

    @classmethod
    def of(cls, scope: Scope) -> "GuardedRequest":
        """The request of an ASGI scope."""
        server = scope.get("server") or (None, None)
        return cls(
            method=str(scope.get("method", "GET")),
            path=str(scope["path"]),
            query=bytes(scope.get("query_string", b"")).decode("latin-1"),
            port=server[1],
            headers=tuple((k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"]),
            is_websocket=scope["type"] == "websocket",
        )

    def all(self, name: str) -> list[str]:
        """Every value of a header, by its name in lower case."""
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        """A header's value; several values are joined, so that they equal no single one."""
        values = self.all(name)
        return ", ".join(values) if values else None

    @property
    def changes(self) -> bool:
        """Whether it may change something; a WebSocket always may."""
        return self.is_websocket or self.method not in READS


@dataclass(frozen=True)
class Refusal:
    """Why a request is not carried out; the reason quotes no part of it."""

    status: int
    why: str


@dataclass(frozen=True)
class Guard:
    """The rule."""

    names: frozenset[Authority] = frozenset()
    """Hosts of a proxy, in addition to the loopback ones."""
    methods: frozenset[str] = frozenset({"GET", "HEAD", "POST"})
    websockets: bool = False
    """Whether WebSockets are served at all."""
    query_of_change: re.Pattern[str] = re.compile("")
    """The text that may follow `?` in the address of a request that changes something."""
    operations: frozenset[str] = frozenset()
    """Last parts of paths whose address has no operation: nothing may follow `?` in a request that reads."""

    users: frozenset[int] | None = None
    """Ids of users whose requests are carried out, in addition to this process's user and root; None checks no user."""
    silent: bool = False
    """Whether a refusal is only "not found", for a server that gives strangers no information."""

    def refusal(self, request: GuardedRequest) -> Refusal | None:
        """Why a request is refused, None if it may be carried out."""
        refusal = self._refusal(request)
        return Refusal(404, "not found") if refusal is not None and self.silent else refusal

    def _refusal(self, request: GuardedRequest) -> Refusal | None:
        if request.is_websocket and not self.websockets:
            return Refusal(403, "no WebSocket is served here")
        if not request.is_websocket and request.method not in self.methods:
            return Refusal(405, f"this server takes {', '.join(sorted(self.methods))}")
        return self._sender_refusal(request) or self._content_refusal(request)

    def _sender_refusal(self, request: GuardedRequest) -> Refusal | None:
        if self.users is not None and request.user not in {None, ROOT, os.geteuid(), *self.users}:
            return Refusal(
                403,
                "another user of this machine sent the request; the user who runs dailies can allow it with DAILIES_ALLOWED_USERS",
            )
        host = self._host(request)
        if host is None:
            return Refusal(
                403,
                "the request's Host is not a name of this server: use 127.0.0.1 or localhost with its port, or name "
                "the host of your proxy in DAILIES_ALLOWED_HOSTS",
            )
        if not self._is_ours(request.all("origin"), host, request.port or 80):
            return Refusal(403, "another page's request (its Origin is not this server)")
        return None if _is_from_here(request) else Refusal(403, "another page's request (Sec-Fetch-Site)")

    def _host(self, request: GuardedRequest) -> Authority | None:
        """The request's host, None unless it is exactly one of ours."""
        values = request.all("host")
        host = Authority.parse(values[0]) if len(values) == 1 else None
        if host is None or any(name.covers(host) for name in self.names):
            return host
        return host if host.name in LOOPBACK and (host.port or 80) == (request.port or 80) else None

    def _is_ours(self, origins: list[str], host: Authority, port: int) -> bool:
        """Whether no other server's page sent it: programs, and browsers that read, send no Origin."""
        if not origins:
            return True
        match = _ORIGIN.fullmatch(origins[0].lower()) if len(origins) == 1 else None
        if match is None:
            return False
        default = _DEFAULT_PORTS[match[1]]
        origin = Authority(match[2], int(match[3]) if match[3] else None)
        if any(
            name.name == origin.name and (origin.port or default) == (name.port or default)
            for name in self.names
        ):
            return True
        # another name or address of this machine with the same port may be another server
        is_here = match[1] == "http" and origin.name == host.name and (origin.port or 80) == port
        return is_here and host.name in LOOPBACK

    def _content_refusal(self, request: GuardedRequest) -> Refusal | None:
        if not request.path.startswith("/"):
            return Refusal(400, "the request's target is not a path")
        if not request.changes:
            last = unquote(request.path).rstrip("/").rpartition("/")[2].lower()
            carries = last in self.operations and request.query
            return Refusal(403, "an operation comes in the body of a POST") if carries else None
        if not self.query_of_change.fullmatch(request.query):
            return Refusal(403, "a request that changes something carries nothing in its address")
        kind = request.one("content-type")
        has_no_body = request.is_websocket or (kind is None and request.method == "DELETE")
        if has_no_body or (kind is not None and _JSON.fullmatch(kind)):
            return None
        return Refusal(403, "a request that changes something comes as application/json")


def check_listening(host: str, names: frozenset[Authority]) -> None:
    """Refuse to listen where other machines reach us, unless it is declared by which names they do.

    Raises:
        ConfigurationError: `host` is no address of this machine's own, and no host of a proxy is declared.
    """
    try:
        is_ours_alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ConfigurationError(
            f"--host takes an IP address, e.g. 127.0.0.1 or 0.0.0.0, not {host!r}. Nothing was started."
        ) from None
    if not is_ours_alone and not names:
        raise ConfigurationError(
            f"at {host} other machines reach this server, which has no login of its own. Set DAILIES_ALLOWED_HOSTS to the names of the "
            "proxy with a login in front of it (docs/operating.md). Nothing was started."
        )


def _is_from_here(request: GuardedRequest) -> bool:
    """Whether the browser says that no other site caused it. For a browser, another port of this machine is `same-site`.

    A link that a person follows, e.g. in an alarm, comes from another site; it opens a page of its own and only reads.
    """
    site = request.one("sec-fetch-site")
    if site is None or site == "same-origin":
        return True
    if request.changes:
        return False
    opens_page = (request.one("sec-fetch-mode"), request.one("sec-fetch-dest")) == ("navigate", "document")
    return site == "none" or (opens_page and request.method == "GET")


class Guarded:
    """An ASGI application behind a guard."""

    def __init__(self, app: App, guard: Guard, *, seconds: float = BODY_SECONDS) -> None:
        """Put a guard before an application.

        Args:
            seconds: How long a body may take to arrive.
        """
        self._app = app
        self._guard = guard
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a request out, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request = GuardedRequest.of(scope)
        if self._guard.users is not None:
            request = replace(request, user=user_of(scope.get("client"), scope.get("server")))
        refusal = self._guard.refusal(request)
        if refusal is None and scope["type"] == "http" and request.changes:
            try:
                async with asyncio.timeout(self._seconds):
                    receive = await _whole(receive)
            except ConnectionAbortedError:
                return
            except TimeoutError:
                refusal = Refusal(408, "the request's body did not arrive in time")
            except ValueError as error:
                refusal = Refusal(413, str(error))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif request.is_websocket:
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.why})
        else:
            await _refuse(refusal, send)


async def _whole(receive: Receive) -> Receive:
    """Read a whole body up to the limit; returns an ASGI `receive` that repeats it.

    Raises:
        ConnectionAbortedError: The client left before the end of the body.
        ValueError: The body is too large.
    """
    messages: list[Message] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError
        size += len(message.get("body", b""))
        if size > BODY_LIMIT:
            raise ValueError(f"the request's body is larger than {BODY_LIMIT >> 20} MB")
        messages.append(message)
        more = bool(message.get("more_body"))

    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return guarded


async def _refuse(refusal: Refusal, send: Send) -> None:
    text = f"{refusal.why}\n".encode()
    headers: Iterable[tuple[bytes, bytes]] = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"x-content-type-options", b"nosniff"),
        # the rest of a refused body is not waited for
        (b"connection", b"close"),
        *HEADERS,
        # a server that gives strangers no information does not say that it is dailies
        *([] if refusal.status == 404 else [(REFUSED.encode(), b"1")]),
    )
    await send({"type": "http.response.start", "status": refusal.status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": text})
