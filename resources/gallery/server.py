"""A server that shows the gallery of a private bucket to a browser on this machine.

The bucket's key stays in this process, and no signed address is made: pages, posters and videos pass through it. A request
without the token of the address, or by another host name, gets no information.
"""

import hmac
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any, Self

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from resources.gallery.pages import FOLDER, INDEX
from resources.guard import READS, Guard, Guarded
from resources.server_thread import HOST, ServerThread
from resources.storage.layout import QUARANTINE, SHEETS, VIDEOS
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import client_for

_TYPES = {".html": "text/html; charset=utf-8", ".mp4": "video/mp4", ".webp": "image/webp"}
_PLACES = {FOLDER: {".html"}, VIDEOS: {".mp4", ".webp"}, QUARANTINE: {".mp4", ".webp"}, SHEETS: {".webp"}}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
}
_PIECE = 256 << 10


class GalleryServer:
    """Serves the gallery on 127.0.0.1 while its context is open.

    Args:
        port: 0 for any free one.
    """

    def __init__(self, store: ObjectStore, *, port: int = 0) -> None:
        self._store = store
        self._token = secrets.token_urlsafe(16)
        self._server = ServerThread(port)
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Address of the first page. Anyone who has it can see every clip while the server runs."""
        return f"http://{HOST}:{self.port}/{self._token}/{INDEX}"

    def __enter__(self) -> Self:
        self._server.start(app_for(self._store, self._token))
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def app_for(store: ObjectStore, token: str) -> Any:
    """The application: `/{token}/{key}` for the keys that a gallery shows.

    Args:
        token: A part of every address.
    """

    async def answer(request: Request) -> Response:
        given, key = str(request.path_params["token"]), str(request.path_params["key"])
        known = hmac.compare_digest(given.encode(), token.encode())
        if not known or not is_shown(key):
            return PlainTextResponse("not found", 404)
        return await run_in_threadpool(fetch_object, store, key, request.headers.get("range"))

    shown: Any = Starlette(routes=[Route("/{token}/{key:path}", answer, methods=["GET"])])
    return Guarded(shown, Guard(methods=READS, silent=True))


def is_shown(key: str) -> bool:
    """Whether a key is one of a page, a video or a picture."""
    suffix = PurePosixPath(key).suffix
    return ".." not in key and any(key.startswith(place) and suffix in of for place, of in _PLACES.items())


def fetch_object(
    store: ObjectStore, key: str, byte_range: str | None, *, cached: str = "no-store"
) -> Response:
    """One object or a range of it, straight from the bucket.

    Args:
        byte_range: The request's `Range`.
        cached: The answer's `Cache-Control`.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    where: Any = {"Range": byte_range} if byte_range else {}
    try:
        answer = client_for(store.settings).get_object(Bucket=store.bucket, Key=key, **where)
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 502))
        return PlainTextResponse("not found", status if status in {404, 416} else 502)
    except BotoCoreError:
        return PlainTextResponse("the bucket does not answer", 502)
    headers = {**_HEADERS, "Cache-Control": cached, "Content-Length": str(answer["ContentLength"])}
    if "ContentRange" in answer:
        headers["Content-Range"] = answer["ContentRange"]
    status = 206 if "ContentRange" in answer else 200
    media = _TYPES[PurePosixPath(key).suffix]
    body = answer["Body"]
    return ClosingStream(body.iter_chunks(_PIECE), status, headers, media_type=media, closes=body)


class ClosingStream(StreamingResponse):
    """An answer that closes the source of its content at its end, also where a page seeks in a video and leaves.

    Starlette leaves the source to Python's next search for garbage, which is rare here.

    Args:
        closes: The source.
    """

    def __init__(self, pieces: Iterator[bytes], *args: Any, closes: Any, **options: Any) -> None:
        super().__init__(pieces, *args, **options)
        self._source = closes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        with closing(self._source):
            await super().__call__(scope, receive, send)
