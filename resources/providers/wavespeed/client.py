"""WaveSpeedAI's REST API v3.

Source of the facts: the provider's own documentation and published clients (WaveSpeed contract, sections 1.1 to 1.12).
What its answers prove is decided in `envelope.py`; here are the calls.
"""

import asyncio
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

from resources.errors import UnavailableError
from resources.file_references import FileReference
from resources.providers import answers
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
from resources.providers.listing import PAGE_SIZE, Page, every_charge, every_job, widened
from resources.providers.live_models import MODELS_LIMIT, LiveModel
from resources.providers.rows import Rows
from resources.providers.upload_tickets import Ticket, put
from resources.providers.wavespeed.contract import CAPABILITIES
from resources.providers.wavespeed.envelope import TASK_REFUSED, Envelope
from resources.providers.wavespeed.models import wavespeed_model
from resources.providers.wavespeed.rows import KINDS, STATUS_WORDS, candidate, charge

PLACEHOLDER = "https://example.com/file"
"""Replaces a local file in a request for a price."""

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


class WaveSpeed(ProviderClient):
    """One account at WaveSpeedAI; implements `resources.providers.provider.Provider`.

    The address of the callback goes out as the query parameter `webhook`, since a `webhook_url` in the body does nothing.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    title = "WaveSpeed"
    key_advice = (
        "Set WAVESPEED_API_KEY to a key of the account; a new key is said to work only after the first top-up"
    )
    job_word = "prediction"
    capabilities = CAPABILITIES

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """See `Provider.submit`. A request that cannot be built is `Rejected` with status 0: nothing was sent."""
        if not _ENDPOINT.fullmatch(endpoint) or endpoint.split("/", maxsplit=1)[0] in _OTHER_CALLS:
            problem = f"{endpoint[:200]!r} is not a WaveSpeed model id (like 'openai/sora-2/text-to-video')"
            return self._unsent(problem)
        try:
            content = encode(body)
        except ValueError as error:
            return self._unsent(self._unwritable(error))
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
            return PollFailed("this cannot be an id of WaveSpeed")
        answer = await self._http.ask("GET", f"/api/v3/predictions/{quote(job_id, safe='')}/result")
        if isinstance(answer, PollFailed):
            return answer
        envelope = Envelope.of(answer)
        if answer.ok and isinstance(envelope.data.get("status"), str):
            named = envelope.data.get("id")
            if named is not None and answers.job_id(named) != job_id:
                return PollFailed("WaveSpeed answered for another prediction than the one asked for")
            return self._state(envelope, answer)
        # only the API's own 404 is final; a gateway's page is not
        if envelope.says({404, 410}) and age_seconds > self.capabilities.propagation_seconds:
            return self._gone(f"HTTP {envelope.status}", envelope.message, answer.document)
        return self._no_state(answer)

    async def list_jobs(
        self,
        *,
        after: datetime,
        before: datetime,
        endpoints: Collection[str],  # noqa: ARG002 - it lists all
    ) -> Rows[Candidate]:
        """List the account's jobs of all models that were created in a window.

        The listing is not filtered by model, since WaveSpeed may serve another model than the one asked for.

        Raises:
            UnavailableError: The listing could not be read to its end.
        """
        created_after, created_before = widened(after, before)

        async def read(number: int, _: int) -> Page[Candidate] | None:
            query = {
                "page": number + 1,
                "page_size": PAGE_SIZE,
                "created_after": created_after,
                "created_before": created_before,
            }
            answer = await self._http.ask("POST", "/api/v3/predictions", content=encode(query))
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
            return Page([candidate(row) for row in rows])

        return await every_job(read, after=after, before=before)

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """See `Provider.charges`. From the billing search (WaveSpeed contract, section 1.9)."""
        read = [await self._charges(billing_type, after, before) for billing_type in KINDS]
        return Rows((row for rows in read for row in rows), (row for rows in read for row in rows.aside))

    async def _charges(self, billing_type: str, after: datetime, before: datetime) -> Rows[Charge]:
        start, end = (answers.milliseconds(moment) for moment in (after, before))

        async def read(number: int, _: int) -> Page[Charge] | None:
            query = {
                "billing_type": billing_type,
                "sort": "created_at DESC",
                "start_time": start,
                "end_time": end,
                "page": number + 1,
                "page_size": PAGE_SIZE,
            }
            answer = await self._http.ask("POST", "/api/v3/billings/search", content=encode(query))
            if isinstance(answer, Answer) and number and Envelope.of(answer).says({400, 404}):
                return None
            rows = self._data(answer, "show its bill").get("items", "missing")
            if rows is None:
                return Page([])
            if not isinstance(rows, list):
                raise UnavailableError(
                    "WaveSpeed's bill has no rows (`data.items`); its format may have changed"
                )
            return Page([charge(row, billing_type) for row in rows])

        return await every_charge(read, after=after, before=before)

    async def check(self) -> None:
        """See `Provider.check`. Asks for the balance, which is free."""
        await self.balance()

    async def balance(self) -> int | None:
        """What the account can spend, in micro-dollars; None if the answer has no readable amount.

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: WaveSpeed does not answer.
        """
        return answers.dollars(
            self._data(await self._http.ask("GET", "/api/v3/balance"), "show its balance").get("balance")
        )

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        """See `Provider.quote`. The price without discount, so that the reservation is large enough. No local file is sent."""
        inputs = FileReference.replaced(body, lambda _: PLACEHOLDER)
        content = encode({"model_id": endpoint, "inputs": inputs})
        answer = await self._http.ask("POST", "/api/v3/model/price", content=content)
        if isinstance(answer, Answer) and Envelope.of(answer).says({400, 404, 422}):
            return None
        data = self._data(answer, "give a price")
        if data.get("model_id", endpoint) != endpoint or data.get("currency", "USD") != "USD":
            return None
        prices = [answers.dollars(data.get(name)) for name in ("price", "discounted_price")]
        return max((price for price in prices if price), default=None)

    async def models(self) -> list[LiveModel]:
        """See `Provider.models`. Each has the schema of its parameters, which decides what the model accepts."""
        answer = await self._http.ask("GET", "/api/v3/models", limit=MODELS_LIMIT)
        rows = self._fields(answer, "list its models").get("data")
        if isinstance(rows, dict):
            rows = rows.get("items", rows.get("models"))
        if not isinstance(rows, list):
            raise UnavailableError("WaveSpeed's list of models has no rows; its format may have changed")
        return [model for row in rows if (model := wavespeed_model(row)) is not None]

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        """See `Provider.upload`. Gets a ticket, then uploads to its address (WaveSpeed contract: uploads)."""
        body = {"filename": name, "size": len(data), "content_type": content_type}
        answer = await self._http.ask("POST", "/api/v3/media/uploads", content=encode(body))
        envelope = Envelope.of(answer) if isinstance(answer, Answer) else None
        if envelope is None or not (200 <= envelope.status < 300):
            refused = envelope is not None and envelope.says({400, 413, 415, 422})
            return self._not_uploaded(answer, "gives no ticket", refused=refused)
        ticket = Ticket.read(envelope.data)
        if ticket is None:
            return UploadFailed("WaveSpeed's upload ticket cannot be understood", FailureKind.PROVIDER)
        failure = await asyncio.to_thread(
            put, ticket, data, base_url=self._http.base_url, network=self._http.network
        )
        return Uploaded(ticket.download_url) if failure is None else failure

    async def webhook_secret(self) -> str:
        """The secret that signs the account's webhooks (WaveSpeed contract, section 1.7).

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: WaveSpeed does not answer, or not readably.
        """
        data = self._data(await self._http.ask("GET", "/api/v3/webhook/secret"), "give its webhook secret")
        secret = answers.text_or_none(data.get("secret"))
        if secret is None:
            raise UnavailableError("WaveSpeed's answer names no webhook secret; its format may have changed")
        return secret

    def _outcome(self, answer: Answer) -> SubmitOutcome:
        envelope = Envelope.of(answer)
        if envelope.job_id is not None:
            model = answers.text_or_none(envelope.data.get("model"))
            return Accepted(envelope.job_id, model, answers.storable(answer.document))
        kind = envelope.refusal()
        if kind is None:
            return Unknown(f"{self._said(answer)}; a task may have been created", answer.status)
        return self._refused(kind, answer)

    def _state(self, envelope: Envelope, answer: Answer) -> JobState:
        data = envelope.data
        status = answers.normal_status(data["status"], STATUS_WORDS) or JobStatus.RUNNING
        outputs, nsfw, timings = data.get("outputs"), data.get("has_nsfw_contents"), data.get("timings")
        urls = answers.media_urls(outputs) or answers.output_ids(outputs)
        error = self._http.scrub.message(data.get("error")) or None
        failure = None
        if status is JobStatus.SUCCEEDED and not urls:
            status, failure = JobStatus.FAILED, FailureKind.NO_OUTPUT
            error = error or "WaveSpeed says that the task is completed, but the answer has no output"
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

    def _data(self, answer: Answer | PollFailed, task: str) -> dict[str, Any]:
        """The `data` of an answer about the account, see `_fields`."""
        data = self._fields(answer, task).get("data")
        return data if isinstance(data, dict) else {}

    def _status(self, answer: Answer) -> int:
        return Envelope.of(answer).status

    def _said(self, answer: Answer) -> str:
        """One sentence with each code by its name and the provider's words."""
        envelope = Envelope.of(answer)
        codes = [f"HTTP {answer.status}"]
        codes += [f"envelope code {envelope.envelope_code}"] if envelope.envelope_code is not None else []
        codes += [f"task code {envelope.task_code}"] if envelope.task_code is not None else []
        words = self._http.scrub.message(envelope.message) or answer.problem or "it gives no reason"
        return self._http.scrub.message(f"WaveSpeed answered {', '.join(codes)}: {words}")
