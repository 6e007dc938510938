"""fal's queue API and its platform API.

Source of the facts: `contract.py`. The answer of a submit names the addresses of its request; a job's id is their common path (see
`rows.py`), so that answers, listings, bills and callbacks name it alike. There is no failed state: a failed request is `COMPLETED`, with an
error beside it and an error instead of its result.

What a submit's answer proves, and why:

| answer | outcome | because |
|---|---|---|
| an answer with a `request_id` | Accepted | a queued request may be charged |
| 401, 402 | Rejected AUTH, INSUFFICIENT_FUNDS | nobody to charge, whoever wrote the page |
| 403 with the API's error | Rejected INSUFFICIENT_FUNDS or AUTH | an exhausted balance locks the account with a 403 |
| 400, 404, 405, 413, 422 with the API's error | Rejected INVALID or MODERATION | the queue refused it |
| 429 with the API's error | Rejected THROTTLED | no source says that a refused rate creates a request |
| any of these from a gateway (HTML, cut, empty), 3xx, 408, 409, other 4xx, 5xx | Unknown | the queue may hold it |
| 2xx without an id, or unreadable | Unknown | something was received |
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from resources.errors import UnavailableError
from resources.providers import answers
from resources.providers.base import (
    Accepted,
    Candidate,
    Charge,
    ClockOffset,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    SubmitOutcome,
    Unknown,
    Uploaded,
    UploadFailed,
)
from resources.providers.client import ProviderClient
from resources.providers.fal.contract import (
    CAPABILITIES,
    KEPT_SECONDS,
    PLATFORM_URL,
    PUBLIC_URL,
    START_SECONDS,
    STORAGE_URL,
)
from resources.providers.fal.errors import REFUSED, is_error, refusal
from resources.providers.fal.models import fal_model, fal_price
from resources.providers.fal.results import end_of
from resources.providers.fal.rows import JOB, candidate, charge, job_in
from resources.providers.http import Answer, ProviderHttp, encode
from resources.providers.listing import PAGE_SIZE, Page, Read, every_charge, every_job, widened
from resources.providers.live_models import MODELS_LIMIT, LiveModel
from resources.providers.rows import Row, Rows, SetAside
from resources.providers.spec import Connection
from resources.providers.upload_tickets import Ticket, put

ENDPOINTS_AT_ONCE = 50
"""The most models in one request for the listing (fal docs: requests by endpoint)."""
LONGEST_JOB = timedelta(days=1)
"""How long after its creation a request has ended, so that a listing that is filtered by its end shows it."""
PAGE_BYTES = 8_000_000
"""The most bytes of a page of the listing, which has the inputs and outputs of a hundred requests."""
KNOWN_MODEL = "fal-ai/flux/dev"
"""The example of fal's documentation; its requests are listed where only the key is of interest."""

_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_STATUS_WORDS = {
    "in_queue": JobStatus.QUEUED,
    "in_progress": JobStatus.RUNNING,
    "completed": JobStatus.SUCCEEDED,
}
_CALL_OF_ANOTHER = {"storage", "v1"}


class Fal(ProviderClient):
    """One account at fal; implements `resources.providers.provider.Provider`.

    At fal's public address, the platform API and the storage have their own hosts; elsewhere (the sandbox) all three are at the
    account's address.

    Raises:
        ConfigurationError: The address or a key cannot be used.
    """

    title = "fal"
    key_advice = "Set FAL_KEY to a key of the account, and for its bill DAILIES_FAL_ADMIN_KEY to one with the scope ADMIN"
    key_scheme = "Key"
    job_word = "request"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        # without an admin key there is no bill, and the cost of jobs is our estimate
        self.capabilities = CAPABILITIES.without_bill() if connection.admin_key is None else CAPABILITIES
        is_public = connection.base_url == PUBLIC_URL
        self._platform = self._reach(connection, PLATFORM_URL) if is_public else self._http
        self._storage = self._reach(connection, STORAGE_URL) if is_public else self._http
        self._admin: ProviderHttp | None = None
        if connection.admin_key is not None:
            self._admin = self._reach(connection, self._platform.base_url, connection.admin_key)

    @property
    def clock_offset(self) -> ClockOffset | None:
        """See `Provider.clock_offset`. The queue dates what the listing shows."""
        return self._http.offset or self._platform.offset

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """See `Provider.submit`. A request that cannot be built is `Rejected` with status 0: nothing was sent.

        fal's queue may repeat a request that its runners lost, and keeps a request for ever if no runner is free. Both are switched off:
        only dailies decides about repetitions, and a miss in the listing must prove something in the end.
        """
        problem = None
        if not _ENDPOINT.fullmatch(endpoint) or endpoint.split("/", maxsplit=1)[0] in _CALL_OF_ANOTHER:
            problem = (
                f"{endpoint[:200]!r} is not a fal model id (like 'bytedance/seedance-2.0/text-to-video')"
            )
        try:
            content = encode(body)
        except ValueError as error:
            problem = self._unwritable(error)
        if problem is not None:
            return self._unsent(problem)
        answer = await self._http.submit(
            f"/{endpoint}",
            content,
            deadline_seconds=deadline_seconds,
            params={"fal_webhook": self._webhook_url(submission_id)} if self._webhook_url else None,
            headers={
                "X-Fal-Request-Timeout": str(START_SECONDS),
                "x-fal-no-retry": "1",
                "X-Fal-Object-Lifecycle-Preference": json.dumps(
                    {"expiration_duration_seconds": KEPT_SECONDS}
                ),
            },
        )
        return answer if isinstance(answer, NotSent | Unknown) else self._outcome(endpoint, answer)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """See `Provider.poll`. Reads the result of a completed request, since only the result shows whether it failed."""
        if answers.job_id(job_id) is None or not JOB.fullmatch(job_id):
            return PollFailed("this cannot be a request of fal")
        path = "/" + quote(job_id, safe="/")
        answer = await self._http.ask("GET", f"{path}/status")
        if isinstance(answer, PollFailed):
            return answer
        fields, word = answer.fields, answer.fields.get("status")
        if not answer.ok or not isinstance(word, str):
            return self._no_job(answer, age_seconds)
        named = fields.get("request_id")
        if named is not None and str(named) != job_id.rpartition("/")[2]:
            return PollFailed("fal answered for another request than the one asked for")
        status = answers.normal_status(word, _STATUS_WORDS) or JobStatus.RUNNING
        if status is not JobStatus.SUCCEEDED:
            return JobState(status, self._http.scrub.message(word, 100), raw=answers.storable(fields))
        return await self._end(path, fields)

    async def _end(self, path: str, status: dict[str, Any]) -> JobState | PollFailed:
        result = await self._http.ask("GET", path)
        if isinstance(result, PollFailed):
            return result
        return end_of(status, result, self._http.scrub) or self._no_state(result)

    async def list_jobs(
        self, *, after: datetime, before: datetime, endpoints: Collection[str]
    ) -> Rows[Candidate]:
        """See `Provider.list_jobs`. Ended requests only, with their inputs.

        Raises:
            UnavailableError: The listing could not be read to its end.
        """
        jobs: list[Candidate] = []
        aside: list[SetAside] = []
        named = sorted(name for name in endpoints if _ENDPOINT.fullmatch(name))
        for begin in range(0, len(named), ENDPOINTS_AT_ONCE):
            some = named[begin : begin + ENDPOINTS_AT_ONCE]
            query = {"endpoint_id": ",".join(some), "expand": "payloads"}
            read = self._pages(
                "/v1/models/requests/by-endpoint", "items", query, candidate, after, before + LONGEST_JOB
            )
            rows = await every_job(read, after=after, before=before)
            jobs += rows
            aside += rows.aside
        return Rows(jobs, aside)

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """See `Provider.charges`. A request that cost nothing is left out."""
        read = self._pages("/v1/models/billing-events", "billing_events", {}, charge, after, before)
        rows = await every_charge(read, after=after, before=before)
        return Rows((row for row in rows if row.micros), rows.aside)

    def _pages(
        self,
        path: str,
        of: str,
        query: Mapping[str, str],
        parse: Callable[[object], Row | SetAside],
        after: datetime,
        before: datetime,
    ) -> Read[Row]:
        """Reads pages by their cursor. None of them is sorted by creation."""
        start, end = widened(after, before)
        cursors: list[str | None] = [None]
        is_bill = of == "billing_events"
        http = self._admin if is_bill else self._platform

        async def read(number: int, _: int) -> Page[Row]:
            if http is None:
                raise UnavailableError("fal shows its bill to an admin key only; set DAILIES_FAL_ADMIN_KEY")
            cursor = cursors[number]
            params = {**query, "start": start, "end": end, "limit": str(PAGE_SIZE)}
            if cursor is not None:
                params["cursor"] = cursor
            answer = await http.ask("GET", path, params=params, limit=PAGE_BYTES)
            fields = self._fields(answer, "show its bill" if is_bill else "list its requests")
            rows, more = fields.get(of), fields.get("has_more")
            if not isinstance(rows, list) or not isinstance(more, bool):
                raise UnavailableError(
                    f"fal's answer has no rows (`{of}`) or does not say whether more follow; its format may have changed"
                )
            following = answers.text_or_none(fields.get("next_cursor"))
            if more and following is None:
                raise UnavailableError("fal says that more rows follow, and does not say where")
            cursors.append(following)
            return Page([parse(row) for row in rows], more, by_creation=False)

        return read

    async def check(self) -> None:
        """See `Provider.check`. Asks for a page of the listing, which is free."""
        query = {"endpoint_id": KNOWN_MODEL, "limit": "1"}
        answer = await self._platform.ask("GET", "/v1/models/requests/by-endpoint", params=query)
        self._fields(answer, "list its requests")

    async def balance(self) -> int | None:
        """See `Provider.balance`. fal's documentation has no call for it."""
        await self.check()
        return None

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        """See `Provider.quote`. Calculated from the model's price per second or per video; None for any other unit."""
        query = {"endpoint_id": endpoint}
        answer = await self._platform.ask("GET", "/v1/models/pricing", params=query)
        if isinstance(answer, Answer) and answer.status == 404 and is_error(answer.fields):
            return None
        prices = self._fields(answer, "give a price").get("prices")
        if not isinstance(prices, list) or len(prices) != 1:
            return None
        return fal_price(prices[0], endpoint, _seconds(body.get("duration"))) or None

    async def models(self) -> list[LiveModel]:
        """See `Provider.models`. All pages of the catalogue, each model with the schema of its input."""
        models: list[LiveModel] = []
        cursor: str | None = None
        for _ in range(100):
            params = {
                "limit": str(PAGE_SIZE),
                "expand": "openapi-3.0",
                **({"cursor": cursor} if cursor else {}),
            }
            answer = await self._platform.ask("GET", "/v1/models", params=params, limit=MODELS_LIMIT)
            fields = self._fields(answer, "list its models")
            rows = fields.get("models")
            if not isinstance(rows, list):
                raise UnavailableError(
                    "fal's list of models has no rows (`models`); its format may have changed"
                )
            models += [model for row in rows if (model := fal_model(row)) is not None]
            cursor = answers.text_or_none(fields.get("next_cursor"))
            if fields.get("has_more") is not True or cursor is None:
                return models
        raise UnavailableError("fal's list of models does not end")

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        """See `Provider.upload`. Gets an address, then uploads to it without the key (`fal_client`: storage)."""
        body = encode({"content_type": content_type, "file_name": name})
        answer = await self._storage.ask(
            "POST", "/storage/upload/initiate", params={"storage_type": "gcs"}, content=body
        )
        if not isinstance(answer, Answer) or not answer.ok:
            refused = isinstance(answer, Answer) and answer.status in REFUSED and is_error(answer.fields)
            return self._not_uploaded(answer, "gives no address", refused=refused)
        urls = answers.media_urls([answer.fields.get("upload_url"), answer.fields.get("file_url")])
        if len(urls) != 2:
            return UploadFailed("fal's address for the upload cannot be understood", FailureKind.PROVIDER)
        ticket = Ticket(urls[0], {"Content-Type": content_type}, urls[1])
        failure = await asyncio.to_thread(
            put, ticket, data, base_url=self._storage.base_url, network=self._storage.network
        )
        return Uploaded(ticket.download_url) if failure is None else failure

    async def callback_keys(self) -> Sequence[bytes]:
        """The public keys of fal's webhooks (fal docs: webhooks).

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: fal does not answer, or not readably.
        """
        answer = await self._storage.ask("GET", "/.well-known/jwks.json")
        keys = self._fields(answer, "show the keys of its webhooks").get("keys")
        public_keys = (
            [key for row in keys if (key := _public_key(row)) is not None] if isinstance(keys, list) else []
        )
        if not public_keys:
            raise UnavailableError("fal shows no key of its webhooks; the format may have changed")
        return public_keys

    async def aclose(self) -> None:
        """Close the connections."""
        # at a sandbox, several of these are the same client
        for http in {self._http, self._platform, self._storage, self._admin} - {None}:
            if http is not None:
                await http.aclose()

    def _outcome(self, endpoint: str, answer: Answer) -> SubmitOutcome:
        fields = answer.fields
        job_id = job_in(fields, endpoint)
        if job_id is not None:
            return Accepted(job_id, None, answers.storable(fields))
        kind = None if answer.ok else refusal(answer)
        if kind is None:
            named = self._http.scrub.message(answer.headers.get("x-fal-request-id"), 100)
            by_name = f" as {named}" if named else ""
            return Unknown(f"{self._said(answer)}; a request may have been queued{by_name}", answer.status)
        return self._refused(kind, answer)

    def _no_job(self, answer: Answer, age_seconds: float) -> JobState | PollFailed:
        is_gone = answer.status in {404, 410} and is_error(answer.fields)
        if not is_gone or age_seconds <= self.capabilities.propagation_seconds:
            return self._no_state(answer)
        return self._gone(f"HTTP {answer.status}", answer.fields, answer.document)


def _seconds(value: object) -> int | None:
    """A length as models write it: 5, `5` or `8s`."""
    return answers.whole_number(value.removesuffix("s") if isinstance(value, str) else value)


def _public_key(row: object) -> bytes | None:
    fields = row if isinstance(row, dict) else {}
    encoded = fields.get("x")
    if not isinstance(encoded, str) or len(encoded) > 64 or fields.get("crv", "Ed25519") != "Ed25519":
        return None
    try:
        key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == 32 else None
