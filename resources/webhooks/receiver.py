"""The receiver's application.

It checks the token in a callback's address, its size, its signature and its age, in this order. Then it asks the provider
about the job, and tells the ledger only if the provider has the job. A callback that cannot be confirmed is answered
with 503, so that the provider repeats it.
"""

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from resources.errors import DailiesError
from resources.ledger.ledger import Ledger
from resources.ledger.lost import closures
from resources.ledger.records import Attempt
from resources.log_lines import about
from resources.providers.base import JobState, JobStatus
from resources.providers.callbacks import BODY_LIMIT, CallbackReader, UnverifiedWebhookError
from resources.providers.provider import Provider
from resources.webhooks.tokens import token, webhook_key

logger = logging.getLogger("dailies")

CONFIRM_SECONDS = 8.0
"""Seconds; a webhook must be answered within ten (WaveSpeed contract, section 1.7)."""
BODY_SECONDS = 10.0
"""Most seconds for the body of a callback."""
REMEMBERED = 10_000
"""Webhook ids that are kept, so that a repeated one is answered without work."""


@dataclass(frozen=True)
class Caller:
    """An account that calls back."""

    provider: Provider
    """The client that confirms a job before the ledger accepts the callback."""
    callbacks: CallbackReader
    """Verifies them."""


class Receiver:
    """Receives callbacks.

    Args:
        callers: By account.
    """

    def __init__(self, ledger: Ledger, callers: Mapping[str, Caller]) -> None:
        self._ledger = ledger
        self._callers = callers
        self._key = webhook_key(ledger)
        self._seen: OrderedDict[str, None] = OrderedDict()

    def app(self) -> Starlette:
        """The application: one route per account and submission, nothing else.

        A proxy may keep or remove the path of `DAILIES_WEBHOOK_URL`.
        """
        ours = "/{account}/{submission}/{token}"
        paths = (ours, "/{prefix:path}" + ours)
        return Starlette(routes=[Route(path, self._take, methods=["POST"]) for path in paths])

    async def _take(self, request: Request) -> Response:
        account, submission = request.path_params["account"], request.path_params["submission"]
        expected = token(self._key, account, submission)
        token_of_path = str(request.path_params["token"])
        if account not in self._callers or not hmac.compare_digest(token_of_path.encode(), expected.encode()):
            return PlainTextResponse("no such address", 404)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return PlainTextResponse("too slow", 408)
        if body is None:
            return PlainTextResponse("too large", 413)
        try:
            ordered = await asyncio.to_thread(self._ledger.ordered_by, account, submission)
        except DailiesError as error:
            return PlainTextResponse(f"cannot be checked now: {error}", 503)
        named = {} if ordered is None else ordered.named
        with about(**{**named, "account": account, "submission": submission}):
            return await self._read(request.headers, body, account, submission, ordered)

    async def _read(
        self, headers: Headers, body: bytes, account: str, submission: str, ordered: Attempt | None
    ) -> Response:
        """Verify a callback whose address is ours, and confirm it.

        Args:
            ordered: The order of its POST.
        """
        endpoint = None if ordered is None else ordered.endpoint
        try:
            reader = self._callers[account].callbacks
            callback = await reader.read(headers, body, endpoint=endpoint, now=self._ledger.clock())
        except UnverifiedWebhookError as error:
            logger.warning("a webhook for submission %s was refused: %s", submission, error)
            return PlainTextResponse(str(error), 401)
        except DailiesError as error:
            return PlainTextResponse(f"cannot be checked now: {error}", 503)
        with about(job_id=callback.job_id):
            confirmed = await self._take_once(account, submission, callback.job_id, callback.id)
        return PlainTextResponse("thank you" if confirmed else "not confirmed", 200 if confirmed else 503)

    async def _take_once(self, account: str, submission: str, job_id: str, webhook_id: str) -> bool:
        """Confirm a callback that is not confirmed yet."""
        name = f"{account}:{submission}:{job_id}:{webhook_id}"
        if name not in self._seen and not await self._confirmed(account, submission, job_id):
            return False
        self._seen[name] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

    async def _confirmed(self, account: str, submission: str, job_id: str) -> bool:
        """Ask the provider about the job, and tell the ledger if the provider has it."""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                answer = await self._callers[account].provider.poll(job_id, age_seconds=0)
            if not isinstance(answer, JobState) or answer.status is JobStatus.GONE:
                return False
            await asyncio.to_thread(
                closures.match_callback, self._ledger, account, submission, job_id, model=answer.model
            )
        except (DailiesError, TimeoutError) as error:
            logger.warning("the webhook for job %s could not be confirmed: %s", job_id, error)
            return False
        return True


async def _body(request: Request) -> bytes | None:
    """The body, None if it is too large."""
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > BODY_LIMIT:
            return None
    return bytes(pieces)
