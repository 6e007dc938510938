"""Transports for httpx, with our proxies and certificates.

httpx's own transport for proxies is not used: after a tunnel whose TLS failed, it never frees the place in its pool (httpcore 1.0.9),
so that 32 failures stopped all polls of a process. Here a tunnel is a part of connecting, so the only sending in httpcore's trace is
that of the request itself, and a proxy's CONNECT can never be taken for the POST.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpcore
import httpx

from resources.network.proxies import Proxy
from resources.network.trust import is_untrusted
from resources.network.way_out import Network
from resources.plain import shown

_HEAD_LIMIT = 16_384
"""The most bytes of a proxy's answer to CONNECT."""
CLIENT_IDLE_SECONDS = 1.0
"""How long a plain client keeps an unused connection. uvicorn, which serves Dagster's pages, closes one after 5 s, as httpx does: the
answer to a launch was lost when both happened at once."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|$)")


def transport(network: Network, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """The transport of a client: HTTP/1.1, without retries, and without settings from the environment."""
    return _Transport(network, limits)


def asking_transport(network: Network, connections: int, *, idle_seconds: float) -> httpx.AsyncBaseTransport:
    """The transport of a client with frequent requests: as `transport`, but it reuses connections."""
    once = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=idle_seconds)
    return _Lanes(lambda: _Transport(network, once), connections)


def client(network: Network, url: str, *, timeout_seconds: float) -> httpx.Client:
    """A plain client for one address."""
    proxy = network.proxy_to(url)
    context = network.trust.context()
    named = None
    if proxy is not None:
        named = httpx.Proxy(
            str(proxy), headers=proxy.headers, ssl_context=context if proxy.scheme == "https" else None
        )
    limits = httpx.Limits(keepalive_expiry=CLIENT_IDLE_SECONDS)
    return httpx.Client(timeout=timeout_seconds, trust_env=False, verify=context, proxy=named, limits=limits)


def cause_of(error: Exception, proxy: Proxy | None) -> tuple[str, bool]:
    """Describe an error of a plain client in a few words; also returns whether it proves that the request did not reach its server.

    Args:
        error: The error of httpx, or of reading the answer.
        proxy: The proxy. Only a proxy answers 407; its other statuses may follow after it has passed the request on.
    """
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        if status == 407 and proxy is not None:
            return proxy.refusal(status, error.request.url.host, error.request.url.port or 80), True
        return f"HTTP {status}", False
    if isinstance(error, httpx.ProxyError) and proxy is not None:
        return shown(f"the proxy {proxy} answers {error}", longest=120), True
    if is_untrusted(error):
        return "its TLS certificate is not trusted; SSL_CERT_FILE names the file of a private authority", True
    return type(error).__name__, isinstance(error, _NOT_SENT)


class _Transport(httpx.AsyncHTTPTransport):
    def __init__(self, network: Network, limits: httpx.Limits) -> None:
        context = network.trust.context()
        super().__init__(verify=context, trust_env=False, limits=limits, retries=0)
        # a private attribute of httpx: its transport maps errors, but accepts no other network backend
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Tunnels(network),
        )
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; a plain one that a proxy would read is refused, since keys and webhooks' addresses are in it."""
        if request.url.scheme == "http" and self._network.proxy_to(str(request.url)) is not None:
            raise httpx.UnsupportedProtocol("plain http would show the request to the proxy; use https")
        return await super().handle_async_request(request)


class _Lanes(httpx.AsyncBaseTransport):
    """Connections, each in a separate pool.

    httpcore searches all connections of a pool several times in each request, and closes idle ones as soon as the pool has more
    connections than may be idle, busy ones included: half of sixteen parallel polls began with a new TLS handshake.

    Args:
        make: Makes a transport of one connection.
        most: How many connections there may be.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], most: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(most)
        self._all: list[httpx.AsyncBaseTransport] = []
        self._idle: list[httpx.AsyncBaseTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on the last used connection, which is the most likely to be open."""
        await self._free.acquire()
        lane = self._idle.pop() if self._idle else self._make()
        if lane not in self._all:
            self._all.append(lane)
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._give_back(lane)
            raise
        response.stream = _LaneStream(response.stream, lambda: self._give_back(lane))
        return response

    def _give_back(self, lane: httpx.AsyncBaseTransport) -> None:
        self._idle.append(lane)
        self._free.release()

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in self._all:
            await lane.aclose()


class _LaneStream(httpx.AsyncByteStream):
    """The body of an answer, whose end frees its connection."""

    def __init__(self, body: httpx.SyncByteStream | httpx.AsyncByteStream, ended: Callable[[], None]) -> None:
        if not isinstance(body, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport gives asynchronous bodies")
        self._body = body
        self._ended: Callable[[], None] | None = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            yield piece

    async def aclose(self) -> None:
        """Close the body, once."""
        ended, self._ended = self._ended, None
        try:
            await self._body.aclose()
        finally:
            if ended is not None:
                ended()


class _Tunnels(httpcore.AsyncNetworkBackend):
    """Connects through the proxy of each host, or directly."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host within `timeout` seconds for all steps together."""
        proxy = self._network.proxies.proxy_for("https", host, port)
        if proxy is None:
            return await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            async with asyncio.timeout(timeout):
                return await self._through(proxy, host, port, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"the proxy {proxy} gives no way to {host} in time") from None

    async def _through(
        self, proxy: Proxy, host: str, port: int, socket_options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        try:
            stream = await self._inner.connect_tcp(proxy.host, proxy.port, None, None, socket_options)
        except httpcore.ConnectError:
            raise httpcore.ProxyError(f"the proxy {proxy} of {proxy.variable} does not answer") from None
        try:
            if proxy.scheme == "https":
                stream = await stream.start_tls(self._network.trust.context(), proxy.host)
            status = await _open_tunnel(stream, proxy, host, port)
        except httpcore.NetworkError as error:
            await stream.aclose()
            raise httpcore.ProxyError(f"the connection to the proxy {proxy} failed: {error}") from None
        except BaseException:
            await stream.aclose()
            raise
        if not 200 <= status < 300:
            await stream.aclose()
            raise httpcore.ProxyError(proxy.refusal(status, host, port))
        return stream

    async def sleep(self, seconds: float) -> None:
        """See the interface."""
        await self._inner.sleep(seconds)


async def _open_tunnel(stream: httpcore.AsyncNetworkStream, proxy: Proxy, host: str, port: int) -> int:
    """Ask a proxy for a tunnel; returns the status of its answer, whose body is never read."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    await stream.write("\r\n".join([*lines, "", ""]).encode())
    head = b""
    # reading pieces may read beyond the head, which is safe since nothing may follow it before we send
    while b"\r\n\r\n" not in head:
        piece = await stream.read(4096)
        head += piece
        if not piece or len(head) > _HEAD_LIMIT:
            raise httpcore.ProxyError(f"the proxy {proxy} gives no readable answer")
    status = _STATUS.match(head)
    if status is None or (status[1].startswith(b"2") and not head.endswith(b"\r\n\r\n")):
        raise httpcore.ProxyError(f"the proxy {proxy} gives no readable answer")
    return int(status[1])
