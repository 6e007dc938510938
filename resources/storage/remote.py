"""A file at a URL, read once from its beginning to its verified end, across cut connections and redirects."""

import hashlib
import re
import ssl
import time
from typing import TYPE_CHECKING, Self

from resources.plain import name
from resources.storage.addresses import Target, joined, locate, shown
from resources.storage.body import Body, UnknownEncodingError
from resources.storage.connections import (
    NETWORK_ERRORS,
    Connections,
    Deadline,
    MalformedAnswerError,
    ProxyError,
    ask,
    connect,
)
from resources.storage.download_policy import (
    ChangedError,
    DownloadError,
    DownloadPolicy,
    OutputGoneError,
    RefusedError,
    TooLargeError,
    UnsafeAddressError,
)

if TYPE_CHECKING:
    from urllib3 import HTTPResponse
    from urllib3.connection import HTTPConnection

_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_GONE = {401, 403, 404, 410}
_WANTS_KEY = {401, 403}
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_PIECE = 128 << 10
_DENSEST = 100
_DENSE_BYTES = 16 << 20
"""A body with more bytes than this that was `_DENSEST` times smaller when compressed is a bomb, not a clip."""

_connections = Connections()


class _PassingError(Exception):
    """This request failed, but the next one may succeed."""


class RemoteFile:
    """A remote file that reads like a local one. After a cut, reading continues at the same byte.

    If the server names a strong ETag, the rest is requested with Range and If-Range, and must come with the same ETag and exactly that
    range. Otherwise the file is read from the start, and its beginning must be unchanged. A compressed body is decompressed; sizes and
    digests are those of the decompressed file.
    """

    def __init__(self, url: str, policy: DownloadPolicy) -> None:
        self.size: int | None = None
        """The size of the whole file in bytes; None if the server has not named it."""
        self.content_type = ""
        """The server's media type, without parameters, in lower case."""
        self.position = 0
        """Bytes read so far."""
        self._url = url
        self._policy = policy
        self._digest = hashlib.sha256()
        self._etag: str | None = None
        self._in_parts = True
        self._part_ends: int | None = None
        self._resumes = 0
        self._deadline = Deadline(policy.total_seconds)
        self._open: tuple[Target, HTTPConnection, HTTPResponse] | None = None
        self._body: Body | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 in hex of the bytes that were read so far."""
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        self._deadline.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._deadline.__exit__()
        self._drop()

    def read(self, amount: int = _PIECE) -> bytes:
        """The next bytes, at most `amount`; none at the end. It is an error if the file ends before the announced size.

        Raises:
            DownloadError: One of its kinds.
        """
        while True:
            try:
                body = self._body or self._start()
                piece = body.read(amount)
                self._take(piece, body)
            except _PassingError as error:
                self._pause(str(error))
            except NETWORK_ERRORS as error:
                self._pause(self._cause(error))
            else:
                return piece

    def _cause(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise self._failed("its TLS certificate is not trusted") from None
        if isinstance(error, ProxyError):
            return str(error)
        if isinstance(error, MalformedAnswerError):
            return "the server's answer cannot be read"
        return "the connection failed" if self.position == 0 else "the connection was cut"

    def _take(self, piece: bytes, body: Body) -> None:
        self.position += len(piece)
        self._digest.update(piece)
        if self.position > self._policy.max_bytes or self._is_bomb(body):
            raise self._too_large()
        if self.size is not None and self.position > self.size:
            raise self._changed()
        if self._part_ends is not None and self.position > self._part_ends:
            raise self._changed()
        if not piece:
            self._finish(body)

    def _is_bomb(self, body: Body) -> bool:
        return body.is_encoded and self.position > _DENSE_BYTES and self.position > _DENSEST * body.wire_bytes

    def _finish(self, body: Body) -> None:
        if (
            self._deadline.passed
            or not body.is_whole
            or (self.size is not None and self.position < self.size)
        ):
            raise _PassingError("it ended too early")
        if self._open and body.at_end and self._open[1].is_connected:
            target, connection, _ = self._open
            self._open = self._body = None
            _connections.give_back(target, connection)
        self._drop()

    def _start(self) -> Body:
        """Request the file or the rest of it, and skip to the next byte to read."""
        if self._deadline.passed:
            raise _PassingError("the time is over")
        headers = {}
        if self.position == 0:
            self._etag = None
        elif self._etag and self._in_parts:
            headers = {"Range": f"bytes={self.position}-", "If-Range": self._etag}
        response = self._request(headers)
        etag = response.headers.get("ETag")
        if etag and self._etag and etag.removeprefix("W/") != self._etag:
            raise self._changed()
        if response.status == 206 and headers:
            self._check_part(response, etag)
        self._body = body = self._body_of(response, is_part=response.status == 206 and bool(headers))
        if response.status != 206 or not headers:
            self._check_whole(response, body)
            self._skip(body)
        self._etag = etag if etag and not body.is_encoded and _STRONG_ETAG.fullmatch(etag) else None
        content_type = response.headers.get("Content-Type", "").partition(";")[0]
        self.content_type = name(content_type.strip().lower(), longest=100)
        return body

    def _body_of(self, response: "HTTPResponse", *, is_part: bool) -> Body:
        try:
            return Body(response, is_part=is_part)
        except UnknownEncodingError as error:
            raise self._failed(
                f"it is sent compressed ({error}), though that was not asked for; gzip and deflate are undone"
            ) from None

    def _check_part(self, response: "HTTPResponse", etag: str | None) -> None:
        """Check that this is the rest of the same file. If the server does not show that, the file is read from the start."""
        part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        length = _length(response)
        self._in_parts = False
        if part is None or encoded or etag != self._etag or int(part[1]) != self.position:
            raise _PassingError("the server sent another part than was asked for")
        first, last, total = (int(number) for number in part.groups())
        if not first <= last < total or length not in {None, last + 1 - first}:
            raise _PassingError("the server sent another part than was asked for")
        if self.size is not None and total != self.size:
            raise self._changed()
        self.size = total  # a chunked answer names no size
        self._part_ends = last + 1
        self._in_parts = True

    def _check_whole(self, response: "HTTPResponse", body: Body) -> None:
        size = None if body.is_encoded else _length(response)
        if response.status == 206:
            part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if part is None or int(part[1]) != 0 or int(part[2]) + 1 != int(part[3]):
                raise self._failed("the server sends a part of it, though the whole was asked for")
            size = int(part[3])
        self._part_ends = None
        if self.position and size != self.size:
            raise self._changed()
        if size is not None and size > self._policy.max_bytes:
            raise self._too_large(size)
        self.size = size

    def _skip(self, body: Body) -> None:
        """Re-read the prefix and check that it is unchanged."""
        again, missing = hashlib.sha256(), self.position
        while missing:
            piece = body.read(min(_PIECE, missing))
            if not piece:
                raise self._changed()
            again.update(piece)
            missing -= len(piece)
        if again.digest() != self._digest.digest() and self.position:
            raise self._changed()

    def _request(self, headers: dict[str, str]) -> "HTTPResponse":
        """The answer with the file, after redirects. The address of every hop is resolved and checked."""
        url = self._url
        for _ in range(self._policy.max_redirects + 1):
            target = locate(url, self._policy)
            response = self._ask(target, headers)
            key = self._policy.key
            wants_key = response.status in _WANTS_KEY and key is not None
            if key is not None and wants_key and key.belongs_to(target.scheme, target.host, target.port):
                self._drop()
                response = self._ask(target, {**headers, "Authorization": key.header})
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                self._check_status(response.status)
                return response
            self._drop()
            url = joined(url, location)
        raise UnsafeAddressError(f"{shown(self._url)}: more than {self._policy.max_redirects} redirects")

    def _ask(self, target: Target, headers: dict[str, str]) -> "HTTPResponse":
        connection = _connections.take(target) or connect(
            target, connect_seconds=self._policy.connect_seconds, deadline=self._deadline
        )
        try:
            response = ask(
                connection, target, headers, read_seconds=self._policy.read_seconds, deadline=self._deadline
            )
        except BaseException:
            connection.close()
            raise
        self._open = (target, connection, response)
        return response

    def _check_status(self, status: int) -> None:
        if status in _PASSING:
            raise _PassingError(f"the server answers {status}")
        if status == 416:
            raise self._changed()
        if status in _GONE:
            raise OutputGoneError(
                f"{shown(self._url)}: the server answers {status}; the address has expired or the output was deleted"
            )
        if status not in {200, 206}:
            raise RefusedError(f"{shown(self._url)}: the server answers {status}")

    def _pause(self, why: str) -> None:
        """Wait before the next request, or give up."""
        self._drop()
        if self._deadline.passed:
            raise self._failed(f"it took longer than {self._policy.total_seconds:g} s") from None
        if self._resumes >= self._policy.max_resumes:
            raise self._failed(f"{why}, {self._resumes + 1} times in a row") from None
        time.sleep(min(self._policy.pause_seconds * 2**self._resumes, 5))
        self._resumes += 1

    def _drop(self) -> None:
        if self._open:
            _, connection, response = self._open
            self._open = self._body = None
            response.close()
            connection.close()

    def _failed(self, why: str) -> DownloadError:
        at = f" at byte {self.position:,}" if self.position else ""
        return DownloadError(f"{shown(self._url)}: {why}{at}. The clip is there to be fetched again later")

    def _changed(self) -> ChangedError:
        return ChangedError(
            f"{shown(self._url)}: the file changed while it was fetched; it is to be fetched anew"
        )

    def _too_large(self, size: int | None = None) -> TooLargeError:
        # a length may have thousands of digits
        has = (
            f"more than {self.position:,}" if size is None else f"{size:,}" if size < 10**18 else "countless"
        )
        return TooLargeError(
            f"{shown(self._url)}: it has {has} bytes; at most {self._policy.max_bytes:,} are fetched"
        )


def _length(response: "HTTPResponse") -> int | None:
    """The Content-Length of an answer in bytes; None if it is missing or unreadable."""
    length = response.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        return None
    return int(length) if len(length) <= 18 else 10**18
