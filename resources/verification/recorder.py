"""The recorder keeps every exchange with a provider as it was on the wire, without the key and signed queries."""

import json
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx

from resources.network.transports import transport as network_transport
from resources.network.way_out import Network
from resources.providers.answers import Scrubber, storable
from resources.providers.spec import DocumentedWire
from resources.storage.body import Inflater, UnknownEncodingError, encoding_of

LARGEST = 32_000_000
"""Most bytes of an answer."""

_KEPT_HEADERS = ("content-type", "date", "retry-after", "server")


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    call: str
    """The kind of request: `submit`, `result`, `list`, `bill`, `balance`, `price`, `models` or `other`."""
    method: str
    """Of the request."""
    path: str
    """Without its query."""
    status: int
    """Of the answer."""
    headers: dict[str, str]
    """The headers with information about the service."""
    document: Any
    """The JSON of the answer with the key hidden, None if it is not JSON."""
    sent: dict[str, Any]
    """The JSON of the request or its query."""
    seconds: float
    """Seconds until the answer was read completely."""
    at: float
    """When it was sent, seconds since the epoch."""


@dataclass
class Recorder:
    """A transport that records. It opens a new connection for every request, like a purchase."""

    wire: DocumentedWire
    """The kind of each request, by the provider's documentation."""
    api_key: str = field(repr=False)
    network: Network = field(default_factory=Network)
    clock: Callable[[], float] = time.time
    inner: httpx.AsyncBaseTransport | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    """The exchanges in the order of their answers."""

    def transport(self) -> httpx.AsyncBaseTransport:
        """The transport for a provider's client."""
        once = httpx.Limits(max_keepalive_connections=0)
        return _Recording(self, self.inner or network_transport(self.network, once))

    def of(self, call: str) -> list[Exchange]:
        """Every exchange of one call, oldest first."""
        return [exchange for exchange in self.exchanges if exchange.call == call]

    def call_of(self, request: httpx.Request) -> str:
        """The kind of a request."""
        key = f"{request.method} {request.url.path}"
        for pattern, call in self.wire.calls:
            if re.fullmatch(pattern, key):
                return call
        return "other"


class _Recording(httpx.AsyncBaseTransport):
    def __init__(self, recorder: Recorder, inner: httpx.AsyncBaseTransport) -> None:
        self._recorder = recorder
        self._inner = inner
        self._scrub = Scrubber(recorder.api_key)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, read the whole answer, and record both."""
        recorder = self._recorder
        at, started = recorder.clock(), time.monotonic()
        response = await self._inner.handle_async_request(request)
        body = bytearray()
        try:
            async for piece in response.stream:  # type: ignore[union-attr]
                body += piece
                if len(body) > LARGEST:
                    break
        finally:
            await response.aclose()
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        kept |= {name: value for name, value in response.headers.items() if name.startswith("x-")}
        # as the client sees it: one layer of compression removed
        document = self._scrub.document(_plain(response, bytes(body)))
        recorder.exchanges.append(
            Exchange(
                recorder.call_of(request),
                request.method,
                request.url.path,
                response.status_code,
                {name: self._scrub.message(value, 200) for name, value in kept.items()},
                None if document is None else storable(document),
                self._sent(request),
                time.monotonic() - started,
                at,
            )
        )
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=httpx.ByteStream(bytes(body)),
            extensions=response.extensions,
        )

    def _sent(self, request: httpx.Request) -> dict[str, Any]:
        try:
            sent = json.loads(request.content) if request.content else {}
        except (ValueError, httpx.RequestNotRead):
            sent = {}
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        return storable({**query, **sent}) if isinstance(sent, dict) else query

    async def aclose(self) -> None:
        """Close the network."""
        await self._inner.aclose()


def _plain(response: httpx.Response, body: bytes) -> bytes:
    """The body without its compression, as the client reads it; unchanged if it cannot be decompressed."""
    try:
        encoding = encoding_of(response.headers)
        return Inflater(encoding).undo(body, LARGEST) if encoding else body
    except (UnknownEncodingError, zlib.error):
        return body
