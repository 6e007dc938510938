"""Bounds for parsed answers of S3: their size, their time and their kind.

botocore reads an answer to its end before parsing it. So a server, or another program at its address, could fill the memory with a
list, or keep a run waiting with one byte a minute.
"""

import re
import time
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

from resources.storage.connections import MalformedAnswerError, strangers_bytes

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_s3 import S3Client

MOST_BYTES = 16 << 20
"""The largest parsed answer, in bytes. A page of 1,000 keys has 4 MB at most; some servers ignore `max-keys` and send every key."""
MOST_SECONDS = 120.0
"""The longest time from the head of such an answer to its end, in seconds."""

_PIECE = 64 << 10
_PROLOGUE = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?.*?\?>|<!--.*?-->|\s)*<(?:[\w.-]+:)?([\w.-]+)", re.DOTALL
)


class UnreadableAnswerError(Exception):
    """An answer that is not S3's; the text describes it, to follow the server's name."""


def bound_answers(client: "S3Client") -> None:
    """Apply the bounds of this module to a client."""
    # botocore has no public way to bound its reading; a test notices if this attribute moves
    endpoint: Any = client._endpoint  # type: ignore[attr-defined]  # noqa: SLF001
    endpoint.http_session = _BoundedSession(endpoint.http_session)
    events = client.meta.events
    for operation in ("ListObjectsV2", "ListObjects"):
        events.register(f"before-parse.s3.{operation}", _refuse_what_is_no_list)
    events.register("before-send.s3.HeadBucket", _know_no_region)


class _BoundedSession:
    """botocore's HTTP session, whose answers are read within bounds unless the caller reads them as a stream."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: "AWSPreparedRequest") -> "AWSResponse":
        is_streamed = request.stream_output
        request.stream_output = True  # so that nothing of the body is read yet
        response: AWSResponse = self._session.send(request)
        if not is_streamed or response.status_code >= 300:
            response.raw = _Bounded(response.raw)
            response.content  # noqa: B018 - read here, where botocore expects a connection to break
        return response

    def close(self) -> None:
        self._session.close()


class _Bounded:
    """The body of an answer, as `AWSResponse.content` reads it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        read, deadline = 0, time.monotonic() + MOST_SECONDS
        while piece := self._next():
            read += len(piece)
            if read > MOST_BYTES:
                self._raw.close()
                raise UnreadableAnswerError(f"answers more than {MOST_BYTES >> 20} MB, which is not read")
            if time.monotonic() > deadline:
                self._raw.close()
                raise MalformedAnswerError(f"the answer took longer than {MOST_SECONDS:g} s")
            yield piece

    def _next(self) -> bytes:
        with strangers_bytes():
            piece: bytes = self._raw.read1(_PIECE)
            return piece


def _refuse_what_is_no_list(response_dict: dict[str, Any], **_: Any) -> None:
    """Refuse an answer that is not a list of keys: a login page or the list of all buckets must not pass for an empty bucket."""
    if response_dict["status_code"] >= 300:
        return
    root = _PROLOGUE.match(response_dict["body"][:4096])
    name = root[1].decode(errors="replace") if root else "no XML"
    if name != "ListBucketResult":
        raise UnreadableAnswerError(f"answers {name[:40]} where the list of a bucket belongs")


def _know_no_region(request: "AWSPreparedRequest", **_: Any) -> Any:
    """Answer botocore's request for the bucket's region, which it sends after a redirect without a region.

    If the server redirects this request too, botocore repeats it until Python's stack overflows.
    """
    from botocore.awsrequest import AWSResponse

    none: Any = {}
    return AWSResponse(request.url, 200, none, _Bounded(BytesIO()))
