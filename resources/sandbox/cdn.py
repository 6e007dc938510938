"""The public host of finished clips: no key, strong ETags, single ranges."""

import asyncio
import re
from collections.abc import AsyncIterator
from email.utils import formatdate

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from resources.sandbox.books import Job, Phase
from resources.sandbox.desk import Front, WireCall
from resources.sandbox.faults import Html, Truncate
from resources.sandbox.media import Footage
from resources.sandbox.wire import CutShort
from resources.sandbox.workshop import endpoint_of

_PIECE = 256 * 1024


class Cdn(Front):
    """The routes under `/cdn`."""

    name = "cdn"

    def routes(self) -> list[BaseRoute]:
        """The only route."""
        return [self.route("/cdn/{media}.mp4", "cdn", self.fetch, "GET", key=False)]

    def wrong_key(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """Never needed: the clips are public."""
        return Response("AccessDenied", status_code=403)

    def throttled(self, call: WireCall) -> Response:  # noqa: ARG002 - the front's interface
        """429 as a storage host says it."""
        return Response("SlowDown", status_code=429)

    def identify(self, call: WireCall) -> None:
        """The file's name leads to its job."""
        call.job = self.workshop.books.job_of_media(call.request.path_params["media"])

    async def fetch(self, call: WireCall) -> Response:
        """The file of a job, changed by its faults."""
        job = call.job
        if job is None or not self._has_clip(job, call.now):
            return Response("NoSuchKey", status_code=404)
        if call.request.method == "GET":
            self.workshop.books.count(job, "fetches")
        if page := call.effect(Html):
            return Response(page.text, media_type="text/html")
        clip = await self.workshop.clip(job)
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Type": "video/mp4",
            "ETag": clip.etag,
            "Last-Modified": formatdate(job.ends_at, usegmt=True),
        }
        if call.request.headers.get("if-none-match") == clip.etag:
            return Response(status_code=304, headers=headers)
        return _send(call, clip, headers)

    def _has_clip(self, job: Job, now: float) -> bool:
        finished = job.phase(now) is Phase.DONE and not job.fate.empty and endpoint_of(job).output == "video"
        return finished and self.workshop.keeps(job)


def _send(call: WireCall, clip: Footage, headers: dict[str, str]) -> Response:
    request_headers = call.request.headers
    start, end, status = 0, clip.size, 200
    if "range" in request_headers and request_headers.get("if-range", clip.etag) in {
        clip.etag,
        headers["Last-Modified"],
    }:
        span = _span(request_headers["range"], clip.size)
        if span and span[0] >= span[1]:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{clip.size}"})
        if span:
            start, end, status = *span, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{clip.size}"
    headers["Content-Length"] = str(end - start)
    if call.request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if cut := call.effect(Truncate):
        sent = int((end - start) * cut.share)
        return CutShort(_pieces(clip, start, start + sent), status_code=status, headers=headers)
    return StreamingResponse(_pieces(clip, start, end), status_code=status, headers=headers)


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Start and end of a single byte range, empty if it cannot be satisfied; None for a header that a server may ignore."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


async def _pieces(clip: Footage, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        piece = await asyncio.to_thread(clip.read, start, min(_PIECE, end - start))
        start += len(piece)
        yield piece
