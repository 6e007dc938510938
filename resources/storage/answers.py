"""Answers of S3 that are parsed: bounded in size and time, and of the kind that was asked for.

botocore reads an answer to its end before it parses it: a server, or whatever answers in its place, could fill the memory
with the answer to a list or keep a run waiting with one byte a minute.
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
"""Of an answer that is parsed. A page of 1,000 keys has 4 MB at most; some servers ignore `max-keys` and send every key."""
MOST_SECONDS = 120.0
"""From the head of such an answer to its end."""

_PIECE = 64 << 10
_PROLOGUE = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?.*?\?>|<!--.*?-->|\s)*<(?:[\w.-]+:)?([\w.-]+)", re.DOTALL
)


class UnreadableAnswerError(Exception):
    """An answer that is none of S3; the text says what it is instead, after the server's name."""


def bound_answers(client: "S3Client") -> None:
    """Hold a client to the bounds of this module."""
    # botocore has no public way to read less than everything; a test notices when this one moves
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
    """A page of a login, or the list of all buckets, has no keys: it must not pass for an empty bucket."""
    if response_dict["status_code"] >= 300:
        return
    root = _PROLOGUE.match(response_dict["body"][:4096])
    name = root[1].decode(errors="replace") if root else "no XML"
    if name != "ListBucketResult":
        raise UnreadableAnswerError(f"answers {name[:40]} where the list of a bucket belongs")


def _know_no_region(request: "AWSPreparedRequest", **_: Any) -> Any:
    """Answer botocore's question for the bucket's region, which it asks after a redirect that names none.

    botocore asks a server that redirects this question too again and again, until Python's stack ends.
    """
    from botocore.awsrequest import AWSResponse

    none: Any = {}
    return AWSResponse(request.url, 200, none, _Bounded(BytesIO()))
