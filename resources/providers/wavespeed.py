"""WaveSpeedAI's REST API v3.

Source of the facts: the provider's own documentation and published clients (WaveSpeed contract, sections 1.1 to 1.12).
What its answers prove is decided in `wavespeed_envelope`; here are the calls.
"""

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx

from resources.errors import ConfigurationError, UnavailableError
from resources.providers import answers
from resources.providers.base import (
    Accepted,
    Candidate,
    Capabilities,
    Charge,
    ClockOffset,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from resources.providers.http import Answer, ProviderHttp, encode
from resources.providers.listing import PAGE_SIZE, Page, every_charge, every_job, widened
from resources.providers.wavespeed_envelope import TASK_REFUSED, Envelope

STATUS_WORDS = {**answers.STATUS_WORDS, "timeout": JobStatus.FAILED}
"""`timeout` is a terminal state of the task itself (WaveSpeed contract, status values)."""

_ENDPOINT = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)+")
_OTHER_CALLS = {
    "account",
    "balance",
    "billings",
    "media",
    "model",
    "models",
    "predictions",
    "upload",
    "user",
    "webhook",
}


class WaveSpeed:
    """One account at WaveSpeedAI; implements `resources.providers.base.Provider`.

    Args:
        base_url: Address without `/api/v3`, e.g. `https://api.wavespeed.ai`.
        api_key: The account's key.
        webhook_url: Builds the address WaveSpeed calls when the job of a submission id has ended; None for no webhook.
            It goes out as the `webhook` query parameter, since a `webhook_url` in the body does nothing.
        transport: Replaces the network in tests.
        clock: Seconds since the epoch; what WaveSpeed's clock is compared with.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    name = "wavespeed"
    capabilities = Capabilities(
        echoes_submission_id=False,
        lists_jobs=True,
        cancels=False,
        output_days=7,
        # not documented; the listing is read from the live table, so minutes are generous
        settle_seconds=120,
        propagation_seconds=60,
        refunds_failures=True,
    )

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        webhook_url: Callable[[str], str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = ProviderHttp(base_url, api_key, transport=transport, clock=clock)
        self._webhook_url = webhook_url

    def __repr__(self) -> str:
        return f"WaveSpeed({self._http.base_url!r})"

    @property
    def clock_offset(self) -> ClockOffset | None:
        """See `Provider.clock_offset`."""
        return self._http.offset

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """See `Provider.submit`. A request that cannot be built is `Rejected` with status 0: nothing was sent."""
        if not _ENDPOINT.fullmatch(endpoint) or endpoint.split("/", maxsplit=1)[0] in _OTHER_CALLS:
            problem = f"{endpoint[:200]!r} is not a WaveSpeed model id (like 'openai/sora-2/text-to-video')"
            return Rejected(FailureKind.INVALID, f"{problem}; nothing was sent", 0)
        try:
            content = encode(body)
        except ValueError as error:
            problem = self._http.scrub.message(f"the request cannot be written as JSON: {error}", 300)
            return Rejected(FailureKind.INVALID, f"{problem}; nothing was sent", 0)
        answer = await self._http.submit(
            f"/api/v3/{endpoint}",
            content,
            deadline_seconds=deadline_seconds,
            params={"webhook": self._webhook_url(submission_id)} if self._webhook_url else None,
        )
        return answer if isinstance(answer, NotSent | Unknown) else self._outcome(answer)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """See `Provider.poll`."""
        if answers.job_id(job_id) is None:
            return PollFailed("this is not an id WaveSpeed can be asked for")
        answer = await self._http.ask("GET", f"/api/v3/predictions/{quote(job_id, safe='')}/result")
        if isinstance(answer, PollFailed):
            return answer
        envelope = Envelope.of(answer)
        if answer.ok and isinstance(envelope.data.get("status"), str):
            if answers.job_id(envelope.data.get("id")) not in {None, job_id}:
                return PollFailed("WaveSpeed answered for another prediction than the one asked for")
            return self._state(envelope, answer)
        # only the API's own 404 is final; a gateway's page is not
        if envelope.says({404, 410}) and age_seconds > self.capabilities.propagation_seconds:
            said = self._http.scrub.message(envelope.message) or "WaveSpeed does not know this prediction"
            return JobState(
                JobStatus.GONE,
                f"HTTP {envelope.status}",
                error=said,
                failure=FailureKind.GONE,
                raw=answers.storable(answer.document),
            )
        return self._no_state(answer)

    async def find_candidates(self, endpoint: str, *, after: datetime, before: datetime) -> list[Candidate]:
        """See `Provider.find_candidates`. Jobs that name another model are left out; `list_jobs` has them all."""
        jobs = await self.list_jobs(after=after, before=before)
        return [job for job in jobs if job.model in {None, endpoint}]

    async def list_jobs(self, *, after: datetime, before: datetime) -> list[Candidate]:
        """Every job of the account created in a window, whatever its model.

        The listing is not filtered by model, since WaveSpeed may serve another model than the one asked for.

        Raises:
            UnavailableError: The listing could not be read to its end.
        """
        created_after, created_before = widened(after, before)

        async def read(number: int, _: int) -> Page[Candidate] | None:
            asked = {
                "page": number + 1,
                "page_size": PAGE_SIZE,
                "created_after": created_after,
                "created_before": created_before,
            }
            answer = await self._http.ask("POST", "/api/v3/predictions", content=encode(asked))
            if isinstance(answer, Answer) and number and Envelope.of(answer).says({400, 404}):
                return None
            data = self._data(answer, "list its jobs")
            rows = data.get("items", "missing")
            if rows is None:
                return Page([])
            if not isinstance(rows, list):
                raise UnavailableError(
                    "WaveSpeed's listing has no rows (`data.items`); its format may have changed"
                )
            return Page([_candidate(row) for row in rows])

        return await every_job(read, after=after, before=before)

    async def charges(self, *, after: datetime, before: datetime) -> list[Charge]:
        """See `Provider.charges`. From the billing search (WaveSpeed contract, section 1.9)."""
        return [
            *await self._charges("deduct", "charge", after, before),
            *await self._charges("refund", "refund", after, before),
        ]

    async def _charges(
        self, billing_type: str, kind: Literal["charge", "refund"], after: datetime, before: datetime
    ) -> list[Charge]:
        start, end = (answers.milliseconds(moment) for moment in (after, before))

        async def read(number: int, _: int) -> Page[Charge] | None:
            asked = {
                "billing_type": billing_type,
                "sort": "created_at DESC",
                "start_time": start,
                "end_time": end,
                "page": number + 1,
                "page_size": PAGE_SIZE,
            }
            answer = await self._http.ask("POST", "/api/v3/billings/search", content=encode(asked))
            if isinstance(answer, Answer) and number and Envelope.of(answer).says({400, 404}):
                return None
            rows = self._data(answer, "show its bill").get("items", "missing")
            if rows is None:
                return Page([])
            if not isinstance(rows, list):
                raise UnavailableError(
                    "WaveSpeed's bill has no rows (`data.items`); its format may have changed"
                )
            return Page([_charge(row, kind) for row in rows])

        return await every_charge(read, after=after, before=before)

    async def check(self) -> None:
        """See `Provider.check`. Asks for the balance, which is free."""
        await self.balance()

    async def balance(self) -> int | None:
        """What the account can spend, in micro-dollars; None where the answer does not say it readably.

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: WaveSpeed does not answer.
        """
        return answers.dollars(
            self._data(await self._http.ask("GET", "/api/v3/balance"), "tell its balance").get("balance")
        )

    async def webhook_secret(self) -> str:
        """The secret the account's webhooks are signed with (WaveSpeed contract, section 1.7).

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: WaveSpeed does not answer, or not readably.
        """
        data = self._data(await self._http.ask("GET", "/api/v3/webhook/secret"), "tell its webhook secret")
        secret = answers.text_or_none(data.get("secret"))
        if secret is None:
            raise UnavailableError("WaveSpeed's answer names no webhook secret; its format may have changed")
        return secret

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _outcome(self, answer: Answer) -> SubmitOutcome:
        envelope = Envelope.of(answer)
        if envelope.job_id is not None:
            model = answers.text_or_none(envelope.data.get("model"))
            return Accepted(envelope.job_id, model, answers.storable(answer.document))
        kind = envelope.refusal()
        if kind is None:
            return Unknown(f"{self._said(answer)}; a task may have been created", answer.status)
        raw = answers.storable(answer.document) if answer.document is not None else None
        return Rejected(kind, self._said(answer), answer.status, answer.retry_after, raw)

    def _state(self, envelope: Envelope, answer: Answer) -> JobState:
        data = envelope.data
        status = answers.normal_status(data["status"], STATUS_WORDS) or JobStatus.RUNNING
        outputs, nsfw, timings = data.get("outputs"), data.get("has_nsfw_contents"), data.get("timings")
        urls = answers.media_urls(outputs)
        error = self._http.scrub.message(data.get("error")) or None
        failure = None
        if status is JobStatus.SUCCEEDED and not urls and not _things(outputs):
            status, failure = JobStatus.FAILED, FailureKind.NO_OUTPUT
            error = error or "WaveSpeed says that the task is completed but gives no output"
        elif status is JobStatus.FAILED:
            failure = TASK_REFUSED.get(envelope.task_code or 0)
            if failure is None:
                failure = FailureKind.PROVIDER if envelope.task_code else answers.failure_in_text(error or "")
        elif status is JobStatus.GONE:
            failure = FailureKind.GONE
        return JobState(
            status,
            self._http.scrub.message(data["status"], 100),
            outputs=urls,
            model=answers.text_or_none(data.get("model")),
            error=error,
            failure=failure,
            inference_seconds=answers.seconds(
                timings.get("inference") if isinstance(timings, dict) else data.get("executionTime")
            ),
            nsfw=tuple(flag if isinstance(flag, bool) else None for flag in nsfw)
            if isinstance(nsfw, list)
            else (),
            raw=answers.storable(answer.document),
        )

    def _no_state(self, answer: Answer) -> PollFailed:
        status = Envelope.of(answer).status
        kind = FailureKind.PROVIDER
        if status == 429:
            kind = FailureKind.THROTTLED
        elif status == 401 or (status == 403 and answer.document is not None):
            kind = FailureKind.AUTH
        return PollFailed(self._said(answer), answer.retry_after, kind)

    def _data(self, answer: Answer | PollFailed, task: str) -> dict[str, Any]:
        """The `data` of an answer to a question about the account, or the error a person can act on."""
        failed = answer if isinstance(answer, PollFailed) else self._no_state(answer)
        if isinstance(answer, Answer) and 200 <= Envelope.of(answer).status < 300 and answer.fields:
            data = answer.fields.get("data")
            return data if isinstance(data, dict) else {}
        if failed.kind is FailureKind.AUTH:
            raise ConfigurationError(
                f"WaveSpeed refuses the API key: {failed.cause}. Set WAVESPEED_API_KEY to a key of the account; "
                "a new key is said to work only after the first top-up"
            )
        raise UnavailableError(f"WaveSpeed did not {task}: {failed.cause}. Try again later")

    def _said(self, answer: Answer) -> str:
        """One sentence: the codes, apart, and the provider's words."""
        envelope = Envelope.of(answer)
        codes = [f"HTTP {answer.status}"]
        codes += [f"envelope code {envelope.envelope_code}"] if envelope.envelope_code is not None else []
        codes += [f"task code {envelope.task_code}"] if envelope.task_code is not None else []
        words = self._http.scrub.message(envelope.message) or answer.problem or "it gives no reason"
        return self._http.scrub.message(f"WaveSpeed answered {', '.join(codes)}: {words}")


def _candidate(row: object) -> Candidate:
    fields = row if isinstance(row, dict) else {}
    job_id, created = answers.job_id(fields.get("id")), answers.moment(fields.get("created_at"))
    if job_id is None or created is None:
        raise UnavailableError(
            "WaveSpeed lists a job without a readable id and time, so the list proves nothing"
        )
    body = fields.get("input", fields.get("inputs"))
    return Candidate(
        job_id,
        answers.text_or_none(fields.get("model")),
        created,
        answers.normal_status(fields.get("status"), STATUS_WORDS) or JobStatus.RUNNING,
        body=body if isinstance(body, dict) else None,
    )


def _charge(row: object, kind: Literal["charge", "refund"]) -> Charge:
    fields = row if isinstance(row, dict) else {}
    prediction = fields.get("prediction")
    prediction = prediction if isinstance(prediction, dict) else {}
    job_id, booked = answers.job_id(prediction.get("uuid")), answers.moment(fields.get("created_at"))
    micros = answers.price(fields.get("price"))
    if job_id is None or booked is None or micros is None:
        raise UnavailableError(
            "WaveSpeed bills something without a readable job, time and price, so the bill proves nothing"
        )
    model = answers.text_or_none(prediction.get("model_uuid"))
    return Charge(job_id, micros, kind, booked.timestamp(), model)


def _things(outputs: object) -> bool:
    """Whether the outputs are objects with an id instead of URLs, as the characters endpoint gives them."""
    return isinstance(outputs, list) and any(isinstance(item, dict) and item.get("id") for item in outputs)
