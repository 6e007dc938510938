"""The path of every request: check the key, find the faults, answer, and store the request in the books."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resources.sandbox.books import Job, Visit
from resources.sandbox.faults import (
    CutAnswer,
    Delay,
    Drop,
    ErrorAfter,
    FaultRule,
    Garbage,
    LoseAnswer,
    Operation,
    Reject,
    Subject,
    Throttle,
)
from resources.sandbox.wire import CutShort, Dropped
from resources.sandbox.workshop import Workshop

MAX_BODY = 32 * 1024 * 1024
"""Most bytes of a request: enough for a picture in base64."""

E = TypeVar("E")


@dataclass
class WireCall:
    """One request while it is answered."""

    request: Request
    """Starlette's request."""
    workshop: Workshop
    """The workshop that carries it out."""
    body: dict[str, Any] = field(default_factory=dict)
    """The JSON object in its body, empty if there is none."""
    broken: bool = False
    """Whether its body is not a JSON object."""
    raw: bytes = b""
    model: str = ""
    """The model id in the request."""
    account: str = ""
    """The account of the request's key, empty for a wrong key or a request that needs none."""
    job: Job | None = None
    """The job of the request."""
    rules: list[FaultRule] = field(default_factory=list)
    """The rules that fire."""

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.workshop.clock()

    @property
    def base_url(self) -> str:
        """The beginning of addresses in the answer, without a slash at the end."""
        return (self.workshop.settings.public_url or str(self.request.base_url)).rstrip("/")

    def effect(self, kind: type[E]) -> E | None:
        """The first effect of a kind for this request."""
        return next((rule.then for rule in self.rules if isinstance(rule.then, kind)), None)


Handler = Callable[[WireCall], Awaitable[Response]]


class Front(ABC):
    """The common part of one provider's routes."""

    name: str
    scheme = "Bearer"
    """The word before the key in the header `Authorization`."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    @abstractmethod
    def wrong_key(self, call: WireCall) -> Response:
        """The answer to a missing or wrong key."""

    @abstractmethod
    def throttled(self, call: WireCall) -> Response:
        """The provider's own 429."""

    @abstractmethod
    def identify(self, call: WireCall) -> None:
        """Set the call's model and job if the request names them."""

    def route(
        self, path: str, operation: Operation, handler: Handler, *methods: str, key: bool = True
    ) -> Route:
        """A route whose requests take the usual path."""

        async def serve(request: Request) -> Response:
            return await self._serve(request, operation, handler, key=key)

        return Route(path, serve, methods=list(methods))

    async def _serve(
        self, request: Request, operation: Operation, handler: Handler, *, key: bool
    ) -> Response:
        call = await self._read(request)
        call.account = self._account(request) or ""
        self.identify(call)
        at = call.now
        if key and not call.account:
            response = self.wrong_key(call)
        else:
            prompt = (call.job.body if call.job else call.body).get("prompt")
            model = call.job.endpoint if call.job else call.model
            provider = call.job.provider if call.job else self.name
            call.rules = self.workshop.strike(Subject(provider, operation, model, str(prompt or "")))
            taking = self.workshop.settings.post_seconds / 2 if operation == "submit" else 0.0
            response = await self._answer(call, handler, taking)
        self.workshop.books.note(
            Visit(
                at=at,
                provider=self.name,
                operation=operation,
                method=request.method,
                path=request.url.path,
                status=None if isinstance(response, Dropped) else response.status_code,
                job_id=call.job.id if call.job else None,
                endpoint=call.model or (call.job.endpoint if call.job else None),
                submission_id=request.headers.get("x-client-request-id"),
                body=call.raw.decode("utf-8", "replace") if operation == "submit" else None,
                faults=", ".join(rule.name for rule in call.rules),
            )
        )
        return response

    async def _read(self, request: Request) -> WireCall:
        call = WireCall(request, self.workshop)
        # the handler of uploads reads the body piece by piece
        if request.method != "POST":
            return call
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) > MAX_BODY:
                call.broken = True
                return call
        call.raw = bytes(pieces)
        try:
            body = json.loads(call.raw or b"{}")
        except ValueError:
            body = None
        call.broken = not isinstance(body, dict)
        call.body = body if isinstance(body, dict) else {}
        return call

    def _account(self, request: Request) -> str | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self.workshop.account(self.name, key) if scheme == self.scheme else None

    async def _answer(self, call: WireCall, handler: Handler, taking: float) -> Response:
        """Answer a request; `taking` is how many seconds pass before and after it is carried out."""
        await _pause(call, before=True)
        response = self._refusal(call)
        if response is None:
            response = await self._carry_out(call, handler, taking)
            await _pause(call, before=False)
            response = _mishap(call, response)
        return response

    @staticmethod
    async def _carry_out(call: WireCall, handler: Handler, taking: float) -> Response:
        if not taking:
            return await handler(call)
        await asyncio.sleep(taking)
        response = await handler(call)
        await asyncio.sleep(taking)
        return response

    def _refusal(self, call: WireCall) -> Response | None:
        """The answer to a request that a fault keeps from being carried out; None to carry it out."""
        if call.effect(Drop):
            return Dropped()
        if reject := call.effect(Reject):
            return _literal(reject.status, reject.body, reject.headers)
        if throttle := call.effect(Throttle):
            response = self.throttled(call) if throttle.envelope else _literal(429, "Too Many Requests")
            if throttle.retry_after is not None:
                response.headers["Retry-After"] = f"{throttle.retry_after:g}"
            return response
        return None


def _mishap(call: WireCall, response: Response) -> Response:
    """The answer to a request that was carried out, changed by its faults."""
    if call.effect(LoseAnswer):
        return Dropped()
    if error := call.effect(ErrorAfter):
        return _literal(error.status, error.body)
    if garbage := call.effect(Garbage):
        return Response(garbage.text, media_type="application/json")
    if cut := call.effect(CutAnswer):
        sent = bytes(response.body)[: int(len(response.body) * cut.share)]
        return CutShort(_one(sent), status_code=response.status_code, headers=response.headers)
    return response


def _literal(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    if body is None:
        return Response(status_code=status, headers=headers)
    if isinstance(body, str):
        kind = "text/html" if body.lstrip().startswith("<") else "text/plain"
        return Response(body, status_code=status, headers=headers, media_type=kind)
    return JSONResponse(body, status_code=status, headers=headers)


async def _pause(call: WireCall, *, before: bool) -> None:
    port = call.request.client.port if call.request.client else 0
    for rule in call.rules:
        if isinstance(rule.then, Delay) and rule.then.before == before:
            await call.workshop.wait(rule.name, rule.then.seconds, port)


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


def timestamp(seconds: float, digits: int = 3) -> str:
    """A moment as the providers write it: ISO 8601, UTC, `Z`, with milliseconds or with nanoseconds."""
    whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = int((seconds % 1) * 10**digits)
    return f"{whole}.{fraction:0{digits}d}Z"


def moment(text: object) -> float:
    """Seconds since the epoch from ISO 8601 (UTC without an offset) or from milliseconds in text.

    Raises:
        ValueError: The text is neither.
    """
    if not isinstance(text, str):
        raise ValueError(f"not a time: {text!r}")  # noqa: TRY004 - one error for all that is no time
    if text.isdigit():
        return int(text) / 1000
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
