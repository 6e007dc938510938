"""Serves the pictures of clips from Dagster's webserver, so that events have a short address instead of a picture.

The address has no host and no signature, since the same server, behind the same guard, serves the page and the picture. Events with
posters as base64 took 84 kB a clip for ever; signed addresses would be secrets and would expire.
"""

import asyncio
from collections.abc import Callable

from resources.errors import DailiesError
from resources.guard import App, Message, Receive, Scope, Send
from resources.storage.layout import picture_key
from resources.storage.objects import ObjectStore

PICTURES = "/pictures/"
MAX_BYTES = 1 << 20
"""Larger pictures are not served; a poster has about 20 kB, a contact sheet up to 250."""
AT_ONCE = 4
"""The most pictures that are read from the bucket at once; a page shows a few."""
HEADERS = (
    (b"content-type", b"image/webp"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    # a contact sheet changes during its day
    (b"cache-control", b"private, max-age=300"),
)


class PictureServer:
    """Answers GET requests below `/pictures/`, and passes all others on."""

    def __init__(self, app: App, store: Callable[[], ObjectStore]) -> None:
        """Serve before another application.

        Args:
            app: The other application.
            store: Opens the bucket; called for each picture, in a separate thread.
        """
        self._app = app
        self._store = store
        self._free = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not path.startswith(PICTURES):
            await self._app(scope, receive, send)
            return
        key = picture_key(path.removeprefix(PICTURES)) if scope["method"] in {"GET", "HEAD"} else None
        data = None
        if key is not None:
            async with self._free:
                data = await asyncio.to_thread(self._read, key)
        status, body = (404, b"") if data is None else (200, data)
        headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _read(self, key: str) -> bytes | None:
        try:
            return self._store().get_bytes(key, max_bytes=MAX_BYTES)
        except DailiesError:
            return None
