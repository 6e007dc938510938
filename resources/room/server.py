"""The room's server: pages and answers for people who judge takes, on 127.0.0.1 and behind the guard.

Bytes pass through this process; no signed address and no key reaches a page.
"""

import contextlib
import functools
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from resources.errors import DailiesError, UnavailableError
from resources.gallery.server import ClosingStream, fetch_object, is_shown
from resources.guard import Guard, Guarded
from resources.health import WithProbes
from resources.room.finishes import AskedFinish
from resources.room.page_requests import (
    AnotherPersonError,
    AskedRetake,
    AskedVerdict,
    NotAllowedError,
    Room,
    RoomHouse,
)
from resources.room.people import Doorkeeper, Person
from resources.room.verdict_keeper import VerdictKeeper
from resources.room.words import AskedWords
from resources.series.prompt_edits import EditConflictError
from resources.server_thread import HOST, ServerThread
from resources.storage.layout import QUARANTINE, VIDEOS
from resources.storage.objects import ObjectStore

Asked = TypeVar("Asked", bound=BaseModel)
Answer = Callable[[Request], Awaitable[Response]]

_PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _POLICY,
}
_KEPT = "private, max-age=86400, immutable"
"""Videos and posters never change under their key."""


def app_for(room: Room, store: ObjectStore, guard: Guard) -> Any:
    """The application behind its guard."""
    routes = [
        Route("/", _page(room)),
        Route("/static/{name}", _static),
        Route("/media/{key:path}", _media(room, store)),
        Route("/api/clips", _reading(room, room.clips)),
        Route("/api/changes", _reading(room, room.changes)),
        Route("/api/worth", _reading(room, room.worth)),
        Route("/api/offer", _reading(room, room.offer)),
        Route("/api/selects", _reading(room, room.selects)),
        Route("/selects.zip", _archive(room)),
        Route("/api/words", _reading(room, room.words), methods=["GET"]),
        Route("/api/words", _changing(room, AskedWords, room.keep_words), methods=["POST"]),
        Route("/api/words/preview", _changing(room, AskedWords, room.preview), methods=["POST"]),
        Route("/api/finish-offer", _reading(room, room.offer_finish)),
        Route("/api/finishes", _changing(room, AskedFinish, room.finish), methods=["POST"]),
        Route("/api/verdicts", _changing(room, AskedVerdict, room.judge), methods=["POST"]),
        Route("/api/retakes", _changing(room, AskedRetake, room.retake), methods=["POST"]),
    ]
    shown: Any = Starlette(routes=routes)
    return Guarded(shown, guard)


class RoomServer:
    """Serves the room while its context is open.

    Args:
        user_header: See `Doorkeeper`.
        guard: Decides which requests are served.
        port: The port; 0 for any free one.
        host: The IP address to listen at.
        listening: A socket to serve instead; the server does not close it.
    """

    def __init__(
        self,
        house: RoomHouse,
        *,
        user_header: str | None = None,
        guard: Guard | None = None,
        port: int = 0,
        host: str = HOST,
        listening: socket.socket | None = None,
    ) -> None:
        self._house = house
        self._keeper = VerdictKeeper(house.ledger, house.store)
        self._room = Room(house, Doorkeeper(user_header, house.rules), self._keeper)
        self._guard = guard or Guard(users=frozenset())
        self._server = ServerThread(port, host, listening)
        self._host = f"[{host}]" if ":" in host else host
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self._host}:{self.port}/"

    def __enter__(self) -> Self:
        self._keeper.start()
        guarded = app_for(self._room, self._house.store, self._guard)
        self._server.start(WithProbes(guarded, lambda: contextlib.nullcontext(self._house.ledger)))
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._keeper.stop()


def _page(room: Room) -> Answer:
    async def answer(request: Request) -> Response:
        try:
            await run_in_threadpool(room.person_of, request.headers)
        except DailiesError as error:
            return PlainTextResponse(str(error), 403, headers=_HEADERS)
        return _file("room.html")

    return answer


async def _static(request: Request) -> Response:
    return _file(str(request.path_params["name"]))


def _media(room: Room, store: ObjectStore) -> Answer:
    async def answer(request: Request) -> Response:
        key = str(request.path_params["key"])
        if not is_shown(key) or not key.startswith((VIDEOS, QUARANTINE)):
            return PlainTextResponse("not found", 404, headers=_HEADERS)
        try:
            await run_in_threadpool(room.person_of, request.headers)
        except DailiesError as error:
            return _problem(403, str(error))
        fetch = functools.partial(fetch_object, store, key, request.headers.get("range"), cached=_KEPT)
        return await run_in_threadpool(fetch)

    return answer


def _archive(room: Room) -> Answer:
    async def answer(request: Request) -> Response:
        try:
            name, pieces = await run_in_threadpool(
                lambda: room.archive(room.person_of(request.headers), request.query_params)
            )
        except DailiesError as error:
            return _refused(error)
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return ClosingStream(pieces, headers=headers, media_type="application/zip", closes=pieces)

    return answer


def _reading(room: Room, work: Callable[[Person, Mapping[str, str]], dict[str, Any]]) -> Answer:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(
            _answered, lambda: work(room.person_of(request.headers), request.query_params)
        )

    return answer


def _changing(room: Room, model: type[Asked], work: Callable[[Person, Asked], dict[str, Any]]) -> Answer:
    async def answer(request: Request) -> Response:
        try:
            body = model.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            return _problem(
                400,
                "nothing was changed, because the room does not understand what this page sent. If the room was updated meanwhile, reload "
                f"the page and say it again ({where}: {first['msg']})",
            )
        return await run_in_threadpool(_answered, lambda: work(room.person_of(request.headers), body))

    return answer


def _answered(work: Callable[[], dict[str, Any]]) -> Response:
    try:
        return JSONResponse(work(), headers=_HEADERS)
    except DailiesError as error:
        return _refused(error)


def _refused(error: DailiesError) -> Response:
    match error:
        case AnotherPersonError() | EditConflictError():
            status = 409
        case NotAllowedError():
            status = 403
        case UnavailableError():
            status = 503
        case _:
            status = 400
    return _problem(status, str(error))


def _problem(status: int, why: str) -> Response:
    return JSONResponse({"problem": why}, status, headers=_HEADERS)


def _file(name: str) -> Response:
    data = _sources().get(name)
    if data is None:
        return PlainTextResponse("not found", 404, headers=_HEADERS)
    return Response(data, media_type=_TYPES[Path(name).suffix], headers=_HEADERS)


@functools.cache
def _sources() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in _PAGE.iterdir() if file.suffix in _TYPES}
