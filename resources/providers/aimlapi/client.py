"""AI/ML API's v2 video generations.

Source of the facts: the provider's public documentation (AI/ML API contract, sections 2.1 to 2.5; the documentation
pages "request tracing and cost headers" and "usage logs"). There is no envelope around the body. A failed generation comes as
HTTP 200 with status `error`.

What a submit's answer proves, and why:

| answer | outcome | because |
|---|---|---|
| a generation with an id; a 2xx with an `x-inference-id` header | Accepted | the header is the generation's id |
| 401, 402 | Rejected AUTH, INSUFFICIENT_FUNDS | nobody to charge, whoever wrote the page |
| 403 with the API's error | Rejected INSUFFICIENT_FUNDS or AUTH | "out of credits" comes as 403 |
| 400, 404, 413, 422 with the API's error | Rejected INVALID or MODERATION | a retired model is a 404 |
| 429 with the API's error | Rejected THROTTLED | no source says that a refused rate creates a job |
| any of these from a gateway (HTML, cut, empty), 3xx, 408, other 4xx, 5xx | Unknown | nothing is stated, so nothing is proved |
| 2xx without an id, or unreadable | Unknown | something was received |
"""

import logging
import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from resources.errors import UnavailableError
from resources.money import usd
from resources.providers import answers
from resources.providers.aimlapi.contract import CAPABILITIES
from resources.providers.aimlapi.models import aimlapi_model, aimlapi_price
from resources.providers.base import (
    Accepted,
    Candidate,
    Charge,
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
from resources.providers.http import Answer, encode
from resources.providers.listing import PAGE_SIZE, Page, Read, every_charge, every_job, widened
from resources.providers.live_models import MODELS_LIMIT, LiveModel
from resources.providers.rows import Row, Rows, SetAside, digest

CREDITS_PER_USD = 2_000_000
"""AI/ML API documentation, FAQ."""

STATUS_WORDS = answers.STATUS_WORDS

_GENERATIONS = "/v2/video/generations"
_REFUSED = {400, 404, 413, 422}
_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_SUBMISSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_log = logging.getLogger(__name__)


class AimlApi(ProviderClient):
    """One account at AI/ML API; implements `resources.providers.provider.Provider`.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    title = "AI/ML API"
    key_advice = "Set AIMLAPI_API_KEY to a key of the account"
    job_word = "generation"
    capabilities = CAPABILITIES

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """See `Provider.submit`. A request that cannot be built is `Rejected` with status 0: nothing was sent.

        The model goes into the body here; the submission id goes out as `X-Client-Request-Id`. An id the provider would
        drop in silence (outside 1 to 128 of `A-Z a-z 0-9 . _ : -`) is refused, since it is the only proof later.
        """
        problem = None
        if not _ENDPOINT.fullmatch(endpoint):
            problem = f"{endpoint[:200]!r} is not an AI/ML API model id (like 'openai/sora-2-t2v')"
        elif not _SUBMISSION_ID.fullmatch(submission_id):
            problem = f"the submission id {submission_id[:200]!r} would be dropped by AI/ML API"
        try:
            content = encode({**body, "model": endpoint})
        except ValueError as error:
            problem = self._unwritable(error)
        if problem is not None:
            return self._unsent(problem)
        answer = await self._http.submit(
            _GENERATIONS,
            content,
            deadline_seconds=deadline_seconds,
            headers={"X-Client-Request-Id": submission_id},
        )
        return answer if isinstance(answer, NotSent | Unknown) else self._outcome(answer)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """See `Provider.poll`. The id is a percent-encoded query parameter: real ids have `:` and `/`."""
        if answers.job_id(job_id) is None:
            return PollFailed("this cannot be an id of AI/ML API")
        answer = await self._http.ask("GET", _GENERATIONS, params={"generation_id": job_id})
        if isinstance(answer, PollFailed):
            return answer
        fields = answer.fields
        if answer.ok and ("status" in fields or "video" in fields):
            named = _generation_id(fields)
            labelled = any(fields.get(name) is not None for name in ("id", "generation_id"))
            # the same id is written with and without its `:model` part
            if labelled and (named or "").split(":", maxsplit=1)[0] != job_id.split(":", maxsplit=1)[0]:
                return PollFailed("AI/ML API answered for another generation than the one asked for")
            return self._state(answer)
        if (
            answer.status in {404, 410}
            and _is_error(fields)
            and age_seconds > self.capabilities.propagation_seconds
        ):
            return self._gone(f"HTTP {answer.status}", fields, answer.document)
        return self._no_state(answer)

    async def list_jobs(
        self,
        *,
        after: datetime,
        before: datetime,
        endpoints: Collection[str],  # noqa: ARG002 - it lists all
    ) -> Rows[Candidate]:
        """Every request of this key in a window (at most 92 days), from the usage logs.

        The logs are not filtered by model: their filter matches a name exactly, models have aliases, and a name that
        does not match gives an empty page, which would look like proof of absence.

        Raises:
            UnavailableError: The logs could not be read to their end.
        """
        return await every_job(self._logs(after, before, _candidate), after=after, before=before)

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """See `Provider.charges`. The rows of the usage logs have the charges; a failed request costs nothing."""
        rows = await every_charge(self._logs(after, before, _charge), after=after, before=before)
        return Rows((row for row in rows if row.micros), rows.aside)

    def _logs(
        self, after: datetime, before: datetime, parse: Callable[[object], Row | SetAside]
    ) -> Read[Row]:
        start, end = widened(after, before)

        async def read(_: int, offset: int) -> Page[Row]:
            query = {"start": start, "end": end, "limit": str(PAGE_SIZE), "offset": str(offset)}
            fields = self._fields(await self._http.ask("GET", "/v2/logs", params=query), "list its requests")
            rows, pagination = fields.get("data"), fields.get("pagination")
            if not isinstance(rows, list):
                raise UnavailableError(
                    "AI/ML API's logs have no rows (`data`); their format may have changed"
                )
            more = pagination.get("has_more") if isinstance(pagination, dict) else None
            return Page([parse(row) for row in rows], more if isinstance(more, bool) else None)

        return read

    async def check(self) -> None:
        """See `Provider.check`. Asks for the balance, which is free."""
        await self.balance()

    async def balance(self) -> int | None:
        """What the account can spend, in micro-dollars; None if the answer has no readable amount.

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: AI/ML API does not answer.
        """
        fields = self._fields(await self._http.ask("GET", "/v2/billing"), "show its balance")
        return answers.dollars(fields.get("current_balance"))

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        """See `Provider.quote`. Calculated from the pricing of the model's entry, with its unit and its `per`."""
        models = [model for model in await self._models(endpoint) if model.is_called(endpoint)]
        return (aimlapi_price(models[0].pricing, body) or None) if len(models) == 1 else None

    async def models(self) -> list[LiveModel]:
        """See `Provider.models`. The list has names and prices, but no parameters."""
        return await self._models(None)

    async def _models(self, endpoint: str | None) -> list[LiveModel]:
        params = {"include": "pricing", **({} if endpoint is None else {"id": endpoint})}
        answer = await self._http.ask("GET", "/v1/models", params=params, limit=MODELS_LIMIT)
        rows = self._fields(answer, "list its models").get("data")
        if not isinstance(rows, list):
            raise UnavailableError(
                "AI/ML API's list of models has no rows (`data`); its format may have changed"
            )
        return [model for row in rows if (model := aimlapi_model(row)) is not None]

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:  # noqa: ARG002 - the interface
        """See `Provider.upload`. The documentation has no uploads for video; small pictures are part of the request."""
        return UploadFailed("AI/ML API takes no uploads for video", FailureKind.INVALID)

    def _outcome(self, answer: Answer) -> SubmitOutcome:
        fields = answer.fields
        inference_id = answers.job_id(answer.headers.get("x-inference-id"))
        runs = answers.normal_status(fields.get("status"), STATUS_WORDS) not in {None, JobStatus.FAILED}
        job_id = _generation_id(fields) if answer.ok or runs else None
        if job_id is None and answer.ok:
            job_id = inference_id
        if job_id is not None:
            return Accepted(job_id, answers.text_or_none(fields.get("model")), answers.storable(fields))
        kind = _refusal(answer)
        if kind is None:
            named = f" as {self._http.scrub.message(inference_id)}" if inference_id else ""
            return Unknown(f"{self._said(answer)}; a job may have been created{named}", answer.status)
        return self._refused(kind, answer)

    def _state(self, answer: Answer) -> JobState:
        fields = answer.fields
        word = fields.get("status")
        known = answers.normal_status(word, STATUS_WORDS)
        urls = answers.media_urls(fields.get("video"))
        status = known or (JobStatus.SUCCEEDED if urls else JobStatus.RUNNING)
        raw_status = self._http.scrub.message(word, 100)
        if known is None and urls:
            _log.warning("AI/ML API uses the new status word %r for a finished video", raw_status)
        details = fields.get("error")
        error = self._http.scrub.message(details) or None
        failure = None
        if status is JobStatus.SUCCEEDED and not urls:
            status, failure = JobStatus.FAILED, _failure(details, error) if details else FailureKind.NO_OUTPUT
            error = error or "AI/ML API says that the generation is completed, but the answer has no video"
        elif status is JobStatus.FAILED:
            failure = _failure(details, error)
        elif status is JobStatus.GONE:
            failure = FailureKind.GONE
        return JobState(
            status,
            raw_status,
            outputs=urls,
            model=answers.text_or_none(fields.get("model")),
            error=error,
            failure=failure,
            cost_micros=_cost(answer, finished=status is JobStatus.SUCCEEDED),
            raw=answers.storable(fields),
        )


def _generation_id(fields: dict[str, Any]) -> str | None:
    """The id of a generation; one page of the documentation says `id`, another `generation_id`."""
    return answers.job_id(fields.get("id")) or answers.job_id(fields.get("generation_id"))


def _is_error(fields: dict[str, Any]) -> bool:
    """Whether the API itself wrote this error: it has a reason or repeats the status."""
    return bool(answers.reason(fields)) or "statusCode" in fields


def _refusal(answer: Answer) -> FailureKind | None:
    """Why a submit was certainly refused; None if that is not certain (see the module's table)."""
    if answer.status == 401:
        return FailureKind.AUTH
    if answer.status == 402:
        return FailureKind.INSUFFICIENT_FUNDS
    fields = answer.fields
    repeated = answers.whole_number(fields.get("statusCode"))
    if not _is_error(fields) or repeated not in {None, answer.status}:
        return None
    text = answers.reason(fields)
    kind = None
    if answer.status == 403:
        no_funds = answers.NO_FUNDS.search(text) or "credit" in text.lower()
        kind = FailureKind.INSUFFICIENT_FUNDS if no_funds else FailureKind.AUTH
    elif answer.status == 429:
        # a proxy's 429 can be JSON, too; the API's repeats the status or names the request
        kind = FailureKind.THROTTLED if repeated == 429 or fields.get("requestId") else None
    elif answer.status in _REFUSED:
        kind = FailureKind.MODERATION if answers.MODERATED.search(text) else FailureKind.INVALID
    return kind


def _failure(details: object, error: str | None) -> FailureKind:
    """Why a generation failed. A list of details is a validation error of the model behind the gateway."""
    if isinstance(details, dict) and isinstance(details.get("detail"), list):
        return FailureKind.INVALID
    return answers.failure_in_text(error or "")


def _cost(answer: Answer, *, finished: bool) -> int | None:
    """The charge in micro-dollars. The header counts only for a finished job and above zero, since charges are booked late."""
    meta = answer.fields.get("meta")
    usage = meta.get("usage") if isinstance(meta, dict) else None
    credits_used = answers.amount(usage.get("credits_used")) if isinstance(usage, dict) else None
    if credits_used is not None:
        return usd(credits_used / CREDITS_PER_USD)
    return (answers.dollars(answer.headers.get("x-aimlapi-usd-spent")) or None) if finished else None


def _candidate(row: object) -> Candidate | SetAside:
    fields = row if isinstance(row, dict) else {}
    job_id, created = answers.job_id(fields.get("inference_id")), answers.moment(fields.get("created"))
    named = answers.text_or_none(fields.get("client_request_id"))
    if job_id is None or created is None:
        missing = "id" if job_id is None else "time"
        at = None if created is None else created.timestamp()
        return SetAside(f"a logged request has no readable {missing}", job_id, named, at, digest(row))
    return Candidate(
        job_id,
        answers.text_or_none(fields.get("model")),
        created,
        answers.normal_status(fields.get("status"), STATUS_WORDS) or JobStatus.RUNNING,
        submission_id=named,
    )


def _charge(row: object) -> Charge | SetAside:
    job = _candidate(row)
    if isinstance(job, SetAside):
        return job
    cost = row.get("cost") if isinstance(row, dict) else None
    micros = answers.dollars(cost.get("usd")) if isinstance(cost, dict) else None
    at = job.created_at.timestamp()
    if micros is None:
        why = "a logged request has no readable cost"
        return SetAside(why, job.job_id, job.submission_id, at, digest(row))
    return Charge(job.job_id, micros, "charge", at, job.model, submission_id=job.submission_id)
