"""The HTTP client of a provider's account, and what its errors prove about a purchase.

A purchase is one POST without an idempotency key, so after every error the provider may have read the request. httpx names the
step that failed, and httpcore's trace shows whether the client was about to write the first byte. The outcome is `NotSent` only if
both prove it, else `Unknown`: a wrong `NotSent` buys a clip twice, a wrong `Unknown` delays one.
"""

import asyncio
import contextlib
import functools
import importlib.metadata
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx

from resources.network.transports import asking_transport
from resources.network.transports import transport as network_transport
from resources.network.way_out import Network
from resources.plain import without_queries
from resources.providers.address import checked_base_url, checked_key
from resources.providers.answers import Scrubber, http_date, wait_seconds
from resources.providers.base import ClockOffset, NotSent, PollFailed, Unknown
from resources.storage.body import Inflater, UnknownEncodingError, encoding_of

CONNECT_SECONDS = 10.0
"""Seconds for DNS, TCP and TLS (as in the WaveSpeed Python SDK)."""
READ_SECONDS = 30.0
"""Seconds without a byte after which a GET fails (as in the WaveSpeed Python SDK)."""
ASK_SECONDS = 60.0
"""Seconds for a whole GET, so that a very slow answer ends."""
CONNECTIONS = 48
"""Connections of an account besides those of purchases: 32 parallel polls, and the listing, the bill and prices."""
IDLE_SECONDS = 20.0
"""How long an idle connection can be reused, in seconds."""
DATE_SECONDS = 2.0
"""Seconds by which an answer may be later than its `Date` header."""
BODY_LIMIT = 1_000_000
"""The most bytes of an answer that are read. Real answers have a few kB, a full page of a listing about 100 kB."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


@dataclass(frozen=True)
class Answer:
    """An answer with its status and headers, and its document if the body could be read."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Names in lower case."""
    document: Any
    """The parsed JSON with our key hidden; None if there is no body or it is not JSON."""
    problem: str | None = None
    """The reason for a missing document, for a person."""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def fields(self) -> dict[str, Any]:
        """The document if it is an object, else an empty one."""
        return self.document if isinstance(self.document, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds that the provider asks to wait; None if it does not say."""
        return wait_seconds(self.headers)


class ProviderHttp:
    """The HTTP client of one account. It tells whether a purchase was sent.

    The key goes to this address only: redirects are not followed, the environment's netrc is ignored, and a proxy is a tunnel that
    cannot read the key. A client belongs to one event loop.

    Args:
        base_url: Address without the API's path, e.g. `https://api.wavespeed.ai`; see `checked_base_url`.
        api_key: Sent in the header `Authorization`.
        network: The way out.
        transport: Replaces the network in tests.
        clock: Seconds since the epoch, for comparison with the provider's clock.
        scheme: The word before the key.

    Attributes:
        offset: How far the provider's clock is ahead of ours, None before its first answer.

    Raises:
        ConfigurationError: The address, the key or the proxy to the address cannot be used; the text never shows a secret.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        network: Network | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        scheme: str = "Bearer",
    ) -> None:
        self.offset: ClockOffset | None = None
        self._clock = clock
        self.base_url = checked_base_url(base_url)
        self.network = network or Network()
        self.network.proxy_to(self.base_url)  # an unusable proxy is refused here, before anything is bought
        self.host = urlsplit(self.base_url).netloc
        self.scrub = Scrubber(checked_key(api_key))
        # a new connection for every purchase, since the server may close an idle one while we write to it
        once = httpx.Limits(max_keepalive_connections=0)
        self._submits = _client(f"{scheme} {api_key}", transport or network_transport(self.network, once))
        asking = asking_transport(self.network, CONNECTIONS, idle_seconds=IDLE_SECONDS)
        self._asks = _client(f"{scheme} {api_key}", transport or asking)

    def __repr__(self) -> str:
        return f"ProviderHttp({self.base_url!r})"

    async def submit(
        self,
        path: str,
        content: bytes,
        *,
        deadline_seconds: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer | NotSent | Unknown:
        """POST once, on a new connection, within a hard total deadline.

        Args:
            path: Percent-encoded path below the base address.
            content: The JSON, complete.
            deadline_seconds: Seconds for connecting, sending and reading together. It is checked again before the first
                byte is sent, so that a process that slept does not buy late.
            params: Query parameters.
            headers: Additional headers.

        Returns:
            An `Answer` whenever a status line was read, even if the body broke off; `NotSent` only with proof.
        """
        watch = _Watch(deadline_seconds)
        if watch.left() <= 0:
            return NotSent("the deadline had passed before the request was sent; nothing left this machine")
        response: httpx.Response | None = None
        try:
            request = self._submits.build_request(
                "POST",
                self.base_url + path,
                params=params,
                content=content,
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=httpx.Timeout(deadline_seconds, connect=min(CONNECT_SECONDS, deadline_seconds)),
                extensions={"trace": watch.saw},
            )
            async with asyncio.timeout(watch.left()):
                sent_at = self._clock()
                response = await self._submits.send(request, stream=True)
                self._compare_clocks(response.headers, sent_at)
                return await self._read(response)
        except TimeoutError as timeout:
            error: Exception = timeout
            cause = f"no complete answer from {self.host} within {deadline_seconds:g} s"
        except Exception as other:  # noqa: BLE001 - every error of the network has an outcome
            error, cause = other, self._cause(other)
        if response is not None:
            return Answer(response.status_code, response.headers, None, cause)
        if watch.proves_unsent(error):
            return NotSent(f"{cause}; nothing was sent")
        return Unknown(f"{cause}; the request may have been received")

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        limit: int = BODY_LIMIT,
        seconds: float = ASK_SECONDS,
    ) -> Answer | PollFailed:
        """Send a request that changes nothing, on a reused connection. Retries are the engine's task.

        Args:
            method: `GET`, or `POST` if the provider's listing needs it.
            path: Percent-encoded path below the base address.
            params: Query parameters.
            content: The JSON body, where there is one.
            files: The fields of a multipart form instead: name, bytes and media type of each.
            limit: The most bytes that are read of the answer.
            seconds: How long the whole call may take.
        """
        try:
            request = self._asks.build_request(
                method,
                self.base_url + path,
                params=params,
                content=content,
                files=files,
                headers={"Content-Type": "application/json"} if content is not None else None,
            )
            async with asyncio.timeout(seconds):
                sent_at = self._clock()
                response = await self._asks.send(request, stream=True)
                self._compare_clocks(response.headers, sent_at)
                return await self._read(response, limit)
        except TimeoutError:
            return PollFailed(f"no complete answer from {self.host} within {seconds:g} s")
        except Exception as error:  # noqa: BLE001 - no error of a poll says anything about the job
            return PollFailed(self._cause(error))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._submits.aclose()
        await self._asks.aclose()

    def _compare_clocks(self, headers: Mapping[str, str], sent_at: float) -> None:
        """Measure how far the provider's clock is ahead. It wrote `Date` at some moment between the request and now."""
        date = http_date(headers.get("date", ""))
        if date is None:
            return
        server_time, now = date.timestamp(), self._clock()
        # the header has whole seconds, and servers renew it once a second
        offset = ClockOffset(server_time - now, server_time + DATE_SECONDS - sent_at)
        known = self.offset
        agree = known is not None and known.low <= offset.high and offset.low <= known.high
        # a slow answer measures imprecisely; a change of the clock is believed at once
        if known is None or not agree or offset.high - offset.low <= known.high - known.low + 1:
            self.offset = offset

    async def _read(self, response: httpx.Response, limit: int = BODY_LIMIT) -> Answer:
        async with contextlib.aclosing(response):
            try:
                encoding = encoding_of(response.headers)
            except UnknownEncodingError:
                return Answer(response.status_code, response.headers, None, "the answer is encoded")
            body = await _body(response, encoding, limit)
            if len(body) > limit:
                problem = f"the answer is larger than {limit} bytes"
                return Answer(response.status_code, response.headers, None, problem)
        document = self.scrub.document(bytes(body))
        unread = "the answer is not readable JSON" if document is None else None
        return Answer(response.status_code, response.headers, document, unread)

    def _cause(self, error: Exception) -> str:
        if isinstance(error, httpx.ProxyError):
            return self.scrub.message(str(error), limit=300)  # words of ours
        message = self.scrub.message(str(error), limit=200)
        name = type(error).__name__.lstrip("_")
        return f"{self.host}: {name}{f' ({message})' if message else ''}"


async def _body(response: httpx.Response, encoding: str | None, limit: int) -> bytearray:
    """The body, decompressed; of a body that is too large, a little more than `limit` bytes."""
    body, wire_bytes = bytearray(), 0
    inflater = None
    if encoding is not None:
        # httpx would decompress a whole piece at once: 64 kB of gzip can be 64 MB
        inflater = Inflater(encoding)
        del response.headers["content-encoding"]
    async for chunk in response.aiter_bytes():
        wire_bytes += len(chunk)
        piece = chunk if inflater is None else inflater.undo(chunk, limit + 1)
        while piece:
            body += piece
            if len(body) > limit:
                return body
            piece = b"" if inflater is None else inflater.undo(b"", limit + 1)
        if wire_bytes > limit:
            return body.ljust(limit + 1)
    return body


class _TooLateError(Exception):
    """The deadline passed while the client connected; nothing was sent."""


class _Watch:
    """The deadline of a POST, and the evidence from httpcore's trace whether it was sent."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds if math.isfinite(deadline_seconds) else 0.0
        self._started = time.monotonic(), time.time()
        self._connecting = False
        self._sending = False

    def left(self) -> float:
        """Seconds left, by the clock that shows fewer, since the monotonic clock stops while a laptop sleeps."""
        passed = max(time.monotonic() - self._started[0], time.time() - self._started[1])
        return self._deadline - passed

    async def saw(self, event: str, _info: Mapping[str, Any]) -> None:
        """Record a step; httpcore calls this before it takes the step."""
        if event == "connection.connect_tcp.started":
            self._connecting = True
        elif event.endswith(".send_request_headers.started"):
            if self.left() <= 0:
                raise _TooLateError("the deadline passed while connecting")
            self._sending = True

    def proves_unsent(self, error: Exception) -> bool:
        """Whether the provider cannot have read anything.

        The proof is a trace in which connecting began and sending did not, or an error that comes before the first event
        (a pool's or a proxy's). A trace in which sending began overrules every error.
        """
        return not self._sending and (self._connecting or isinstance(error, _NEVER_SENT))


class _WithoutQueries(logging.Filter):
    """Removes queries from the URLs that httpx logs: they may hold a webhook's token or a job's id."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                without_queries(str(arg)) if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_WithoutQueries())
# below INFO it logs the headers of answers, in which a provider may repeat the key
logging.getLogger("httpcore").setLevel(logging.INFO)


def encode(body: Mapping[str, Any]) -> bytes:
    """The bytes of a request body.

    Raises:
        ValueError: The body is no JSON (it has an object, NaN or a broken character); the text says why.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


@functools.cache
def _user_agent() -> str:
    return f"dailies/{importlib.metadata.version('dailies')}"


def _client(authorization: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        headers={
            "Authorization": authorization,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": _user_agent(),
        },
    )
