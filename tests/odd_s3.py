"""A small S3 server with one oddity, as real servers have: a feature is missing, or another header is required."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from pydantic import SecretStr

from resources.storage import ways
from resources.storage.s3_client import S3Settings

Oddity = Callable[["Request"], tuple[int, str, str] | None]
"""The status, code and message of a refusal; None if the request is accepted."""


@dataclass
class Answer:
    """The answer to send; a `retouch` changes it. Without a Content-Length the end of the connection ends the body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Request:
    """The properties of a request that oddities depend on."""

    def __init__(self, method: str, path: str, headers: dict[str, str], base: str = "") -> None:
        self.method = method
        self.path, _, query = path.partition("?")
        self.query = parse_qs(query, keep_blank_values=True)
        self.headers = headers
        self.is_based = self.path.startswith(f"{base}/")
        """Whether the path begins with the path of the server's address."""
        self.path = self.path.removeprefix(base)
        bucket, dot, _ = headers.get("host", "").partition(".s3.test")
        self.is_virtual = bool(dot)
        """Whether the bucket is named in the host."""
        if self.is_virtual:
            self.path = f"/{bucket}{self.path}"

    def asks(self, name: str) -> str:
        """A parameter of the query; empty if it is missing."""
        return self.query.get(name, [""])[0]

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and self.path.count("/") <= 2 and self.path.endswith(("clips", "clips/"))

    @property
    def region(self) -> str:
        """The region in the request's signature."""
        scope = self.headers.get("authorization", "").partition("Credential=")[2].split("/")
        return scope[2] if len(scope) > 2 else ""

    @property
    def is_put(self) -> bool:
        return self.method == "PUT"

    @property
    def has_checksum(self) -> bool:
        return any(
            name.startswith("x-amz-checksum-") and name != "x-amz-checksum-mode" for name in self.headers
        )


class OddS3:
    """The server at a port; `objects` by path, `seen` has every request."""

    def __init__(
        self,
        oddity: Oddity,
        port: int,
        *,
        etag: Callable[[str], str | None] = lambda md5: f'"{md5}"',
        retouch: Callable[[Request, Answer], Answer] = lambda _, answer: answer,
        base: str = "",
        page_size: int = 1_000,
    ) -> None:
        self.port = port
        self.oddity = oddity
        self.etag = etag
        self.retouch = retouch
        self.base = base
        self.page_size = page_size
        self.objects: dict[str, bytes] = {}
        self.seen: list[Request] = []
        self.lock = threading.Lock()

    @property
    def settings(self) -> S3Settings:
        return S3Settings(
            bucket="clips",
            endpoint_url=f"http://127.0.0.1:{self.port}{self.base}",
            access_key_id="dailieskey",
            secret_access_key=SecretStr("dailies-secret"),
            ride_out_seconds=0.2,
        )

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(
            path.removeprefix("/clips/") for path in self.objects if path.startswith(f"/clips/{prefix}")
        )


class _Port(ThreadingHTTPServer):
    """A port at which one odd server after another answers: boto3 makes a client for each new address, in 20 ms."""

    daemon_threads = True
    block_on_close = False
    odd: OddS3

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def handle_error(self, request: object, client_address: object) -> None: ...

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)


_idle: list[_Port] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Port

    def log_message(self, *args: object) -> None: ...

    def _any(self) -> None:
        self.odd = self.server.odd
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, self.path, headers, self.odd.base)
        self.odd.seen.append(asked)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        refusal = self.odd.oddity(asked)
        if refusal is not None:
            status, code, message = refusal
            return self._send(asked, _error(status, code, message))
        with self.odd.lock:
            answer = self._take(asked, body)
        return self._send(asked, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815 - as http.server calls them

    def _take(self, asked: Request, body: bytes) -> Answer:  # noqa: PLR0911 - one line for each answer
        objects = self.odd.objects
        if asked.is_list:
            return self._list(asked)
        if asked.is_put:
            md5 = asked.headers.get("content-md5")
            if md5 is not None and md5 != base64.b64encode(hashlib.md5(body).digest()).decode():
                return _error(400, "BadDigest")
            if asked.headers.get("if-none-match") == "*" and asked.path in objects:
                return _error(412, "PreconditionFailed")
            objects[asked.path] = body
            return self._of(body, b"")
        if asked.method == "DELETE":
            objects.pop(asked.path, None)
            return Answer(204)
        if asked.path not in objects:
            return _error(404, "NoSuchKey")
        return self._of(objects[asked.path], objects[asked.path])

    def _of(self, data: bytes, body: bytes) -> Answer:
        etag = self.odd.etag(hashlib.md5(data).hexdigest())
        return Answer(200, body, {} if etag is None else {"ETag": etag})

    def _list(self, asked: Request) -> Answer:
        after = asked.asks("continuation-token") or asked.asks("start-after") or asked.asks("marker")
        keys = [key for key in self.odd.keys(asked.asks("prefix")) if key > after]
        size = min(int(asked.asks("max-keys") or 1_000), self.odd.page_size)
        page, rest = keys[:size], keys[size:]
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-29T10:00:00.000Z</LastModified>"
            f"<Size>{len(self.odd.objects[f'/clips/{key}'])}</Size></Contents>"
            for key in page
        )
        following = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        return Answer(
            200,
            f"<ListBucketResult><Name>clips</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{following}{found}</ListBucketResult>".encode(),
        )

    def _send(self, asked: Request, answer: Answer) -> None:
        standard = {"Content-Length": str(len(answer.body)), "Last-Modified": formatdate(usegmt=True)}
        answer.headers = {**standard, **answer.headers}
        answer = self.odd.retouch(asked, answer)
        self.send_response_only(answer.status)
        self.send_header("Date", answer.headers.pop("Date", formatdate(usegmt=True)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            self.wfile.write(answer.body)


def _error(status: int, code: str, message: str = "") -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


def lacks(status: int, code: str, message: str, when: Callable[[Request], bool]) -> Oddity:
    return lambda asked: (status, code, message) if when(asked) else None


def with_header(name: str) -> Callable[[Request], bool]:
    return lambda asked: asked.is_put and name in asked.headers


def is_stream(asked: Request) -> bool:
    """Whether the request is a PUT of a clip that is sent while it arrives, without a checksum of its content."""
    return asked.is_put and "content-md5" not in asked.headers and not asked.has_checksum


NOTHING: Oddity = lambda _: None  # noqa: E731
NO_CONDITIONS = lacks(
    501,
    "NotImplemented",
    "A header you provided implies functionality that is not implemented",
    with_header("if-none-match"),
)
NO_CHECKSUMS = lacks(
    400,
    "InvalidRequest",
    "Unsupported header 'x-amz-checksum-sha256'",
    lambda asked: asked.is_put and asked.has_checksum,
)
LOCKED = lacks(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required", is_stream)
NO_LENGTH = lacks(411, "MissingContentLength", "You must provide the Content-Length HTTP header.", is_stream)
NO_STREAMS = lacks(501, "NotImplemented", "Transfer encoding not implemented", is_stream)
SIGNED_ONLY = lacks(
    400,
    "XAmzContentSHA256Mismatch",
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
    lambda asked: asked.is_put and asked.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD",
)
NO_MD5 = lacks(501, "NotImplemented", "Content-MD5", with_header("content-md5"))
NO_CHECKSUM_MODE = lacks(
    400, "InvalidArgument", "x-amz-checksum-mode", lambda asked: "x-amz-checksum-mode" in asked.headers
)
KEEPS_EVERYTHING = lacks(403, "AccessDenied", "Access Denied", lambda asked: asked.method == "DELETE")


def all_of(*oddities: Oddity) -> Oddity:
    return lambda asked: next((said for oddity in oddities if (said := oddity(asked))), None)


@contextlib.contextmanager
def odd_s3(oddity: Oddity, *, own_port: bool = False, **how: Any) -> Iterator[OddS3]:
    """A running server; `how` is passed to `OddS3`.

    Args:
        oddity: Its oddity.
        own_port: Whether no other server had its address or will have it. botocore remembers a bucket's region, and only such a
            server does not answer after the block.
    """
    port = _Port() if own_port or not _idle else _idle.pop()
    for address, bucket in list(ways._known):
        if f":{port.server_port}" in (address or ""):
            del ways._known[address, bucket]
    port.odd = OddS3(oddity, port.server_port, **how)
    try:
        yield port.odd
    finally:
        if own_port:
            port.stop()
        else:
            _idle.append(port)
