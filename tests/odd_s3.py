"""A small S3 server that is odd in one way, as real ones are: it lacks a feature, or wants another."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from pydantic import SecretStr

from resources.storage.s3_client import S3Settings

Oddity = Callable[["Request"], tuple[int, str, str] | None]
"""Says status, code and message of a refusal; None where the request is taken."""


class Request:
    """What an oddity looks at."""

    def __init__(self, method: str, path: str, headers: dict[str, str]) -> None:
        self.method = method
        self.path, _, query = path.partition("?")
        self.query = parse_qs(query, keep_blank_values=True)
        self.headers = headers

    @property
    def is_put(self) -> bool:
        return self.method == "PUT"

    @property
    def has_checksum(self) -> bool:
        return any(
            name.startswith("x-amz-checksum-") and name != "x-amz-checksum-mode" for name in self.headers
        )


class OddS3(ThreadingHTTPServer):
    """The server; `objects` by path, `seen` every request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, oddity: Oddity, *, etag: Callable[[str], str | None] = lambda md5: f'"{md5}"') -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.oddity = oddity
        self.etag = etag
        self.objects: dict[str, bytes] = {}
        self.seen: list[Request] = []
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None: ...

    @property
    def settings(self) -> S3Settings:
        return S3Settings(
            bucket="clips",
            endpoint_url=f"http://127.0.0.1:{self.server_port}",
            access_key_id="dailieskey",
            secret_access_key=SecretStr("dailies-secret"),
            ride_out_seconds=0.2,
        )

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(
            path.removeprefix("/clips/") for path in self.objects if path.startswith(f"/clips/{prefix}")
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddS3

    def log_message(self, *args: object) -> None: ...

    def _any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, self.path, headers)
        self.server.seen.append(asked)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        refusal = self.server.oddity(asked)
        if refusal is not None:
            status, code, message = refusal
            return self._say(
                status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            )
        with self.server.lock:
            return self._take(asked, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815 - as http.server calls them

    def _take(self, asked: Request, body: bytes) -> None:  # noqa: PLR0911 - one line for each answer
        objects = self.server.objects
        if "list-type" in asked.query:
            return self._list(asked.query.get("prefix", [""])[0])
        if asked.is_put:
            md5 = asked.headers.get("content-md5")
            if md5 is not None and md5 != base64.b64encode(hashlib.md5(body).digest()).decode():
                return self._say(400, b"<Error><Code>BadDigest</Code></Error>")
            if asked.headers.get("if-none-match") == "*" and asked.path in objects:
                return self._say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            objects[asked.path] = body
            return self._say(200, b"", body)
        if asked.method == "DELETE":
            objects.pop(asked.path, None)
            return self._say(204, b"")
        if asked.path not in objects:
            return self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")
        data = objects[asked.path]
        return self._say(200, data, data)

    def _list(self, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[f'/clips/{key}'])}</Size></Contents>"
            for key in self.server.keys(prefix)
        )
        self._say(
            200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()
        )

    def _say(self, status: int, body: bytes, shown: bytes | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        etag = None if shown is None else self.server.etag(hashlib.md5(shown).hexdigest())
        if etag is not None:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def lacks(status: int, code: str, message: str, when: Callable[[Request], bool]) -> Oddity:
    return lambda asked: (status, code, message) if when(asked) else None


def with_header(name: str) -> Callable[[Request], bool]:
    return lambda asked: asked.is_put and name in asked.headers


def is_stream(asked: Request) -> bool:
    """A PUT of a clip that is sent while it arrives: nothing is known of its content before."""
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
def odd_s3(oddity: Oddity, **how: Callable[[str], str | None]) -> Iterator[OddS3]:
    """The server, running."""
    server = OddS3(oddity, **how)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
