"""Acme's client.

| answer of a submit | outcome | because |
|---|---|---|
| 2xx with an id | Accepted | the id is the job's |
| 4xx but 408, 409 with `error.code` | Rejected, by its code | the API itself refuses |
| 401, 402 | Rejected AUTH, INSUFFICIENT_FUNDS | there is no account to charge |
| anything else | Unknown | nothing is stated |
"""

from datetime import datetime
from typing import Any

from resources.errors import UnavailableError
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
from resources.providers.listing import Page, every_charge, every_job, widened
from resources.providers.live_models import LiveModel
from resources.providers.rows import Rows, SetAside, digest
from resources.providers.spec import Connection

KINDS = {
    "invalid": FailureKind.INVALID,
    "moderated": FailureKind.MODERATION,
    "unauthorized": FailureKind.AUTH,
    "no_credit": FailureKind.INSUFFICIENT_FUNDS,
    "too_many": FailureKind.THROTTLED,
}


class Acme(ProviderClient):
    """One account at Acme."""

    title = "Acme"
    key_advice = "Set ACME_KEY"
    job_word = "video"

    def __init__(self, connection: Connection) -> None:
        from acme_video import CAPABILITIES

        super().__init__(connection)
        self.capabilities = CAPABILITIES
        self._connection = connection

    @property
    def key(self) -> str:
        return self._connection.api_key

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        sent = {"model": endpoint, "input": body}
        if self._webhook_url is not None:
            sent["callback_url"] = self._webhook_url(submission_id)
        if not endpoint or endpoint.startswith("."):
            return self._unsent("this is no model")
        try:
            content = encode(sent)
        except ValueError as error:
            return self._unsent(self._unwritable(error))
        answer = await self._http.submit(
            "/acme/videos",
            content,
            deadline_seconds=deadline_seconds,
            headers=self.key_headers(submission_id),
        )
        return answer if isinstance(answer, NotSent | Unknown) else self.outcome(answer)

    def key_headers(self, submission_id: str) -> dict[str, str]:
        return {"Idempotency-Key": submission_id}

    def outcome(self, answer: Answer) -> SubmitOutcome:
        named = answers.job_id(answer.fields.get("id"))
        if answer.ok and named is not None:
            model = answers.text_or_none(answer.fields.get("model"))
            return Accepted(named, model, answers.storable(answer.fields))
        kind = self.refusal(answer)
        if kind is None:
            return Unknown(self._said(answer), answer.status)
        return self._refused(kind, answer)

    def refusal(self, answer: Answer) -> FailureKind | None:
        if answer.status in {401, 402}:
            return FailureKind.AUTH if answer.status == 401 else FailureKind.INSUFFICIENT_FUNDS
        error = answer.fields.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        if not 400 <= answer.status < 500 or answer.status in {408, 409} or not isinstance(code, str):
            return None
        return KINDS.get(code)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        if answers.job_id(job_id) is None or "/" in job_id:
            return PollFailed("this cannot be an id of Acme")
        answer = await self._http.ask("GET", f"/acme/videos/{job_id}")
        if isinstance(answer, PollFailed):
            return answer
        if answer.ok and answer.fields.get("id") == job_id:
            return self.state(answer)
        error = answer.fields.get("error")
        unknown = isinstance(error, dict) and error.get("code") == "not_found"
        if answer.status == 404 and unknown and age_seconds > self.capabilities.propagation_seconds:
            return self._gone("HTTP 404", answer.fields, answer.document)
        return self.silence(answer)

    def silence(self, answer: Answer) -> JobState | PollFailed:
        return self._no_state(answer)

    def state(self, answer: Answer) -> JobState:
        fields = answer.fields
        word = fields.get("state")
        status = answers.normal_status(word, answers.STATUS_WORDS) or JobStatus.RUNNING
        outputs = answers.media_urls(fields.get("output"))
        error = self._http.scrub.message(fields.get("error")) or None
        failure = None
        if status is JobStatus.SUCCEEDED and not outputs:
            status, failure = JobStatus.FAILED, FailureKind.NO_OUTPUT
        elif status is JobStatus.FAILED:
            failure = answers.failure_in_text(error or "")
        elif status is JobStatus.GONE:
            failure = FailureKind.GONE
        return JobState(
            status,
            self._http.scrub.message(word, 100),
            outputs=outputs,
            model=answers.text_or_none(fields.get("model")),
            error=error,
            failure=failure,
            cost_micros=answers.dollars(fields.get("usd")) or None,
            raw=answers.storable(fields),
        )

    async def list_jobs(self, *, after: datetime, before: datetime, **_how: object) -> Rows[Candidate]:
        return await every_job(self._pages("videos", _candidate, after, before), after=after, before=before)

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        return await every_charge(self._pages("charges", _charge, after, before), after=after, before=before)

    def _pages(self, what: str, parse: Any, after: datetime, before: datetime) -> Any:
        start, end = widened(after, before)

        async def read(number: int, _rows: int) -> Page[Any]:
            asked = {"after": start, "before": end, "page": str(number)}
            fields = self._fields(
                await self._http.ask("GET", f"/acme/{what}", params=asked), f"list its {what}"
            )
            rows, more = fields.get(what), fields.get("more")
            if not isinstance(rows, list) or not isinstance(more, bool):
                raise UnavailableError(f"Acme's list of {what} has changed")
            return Page([parse(row) for row in rows], more)

        return read

    async def check(self) -> None:
        await self.balance()

    async def balance(self) -> int | None:
        fields = self._fields(await self._http.ask("GET", "/acme/account"), "show its account")
        return answers.dollars(fields.get("usd"))

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        content = encode({"model": endpoint, "input": body})
        asked = await self._http.ask("POST", "/acme/prices", content=content)
        return answers.dollars(self._fields(asked, "say its price").get("usd"))

    async def models(self) -> list[LiveModel]:
        rows = self._fields(await self._http.ask("GET", "/acme/models"), "list its models").get("models")
        if not isinstance(rows, list):
            raise UnavailableError("Acme's list of models has changed")
        return [
            LiveModel(row["id"]) for row in rows if isinstance(row, dict) and answers.job_id(row.get("id"))
        ]

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        return UploadFailed("Acme takes no uploads", FailureKind.INVALID)


def _candidate(row: object) -> Candidate | SetAside:
    fields = row if isinstance(row, dict) else {}
    job_id, at = answers.job_id(fields.get("id")), answers.moment(fields.get("created_at"))
    if not isinstance(fields.get("id"), str) or job_id is None or at is None:
        return SetAside("a listed video has no readable id or time", digest=digest(row))
    return Candidate(
        job_id,
        answers.text_or_none(fields.get("model")),
        at,
        answers.normal_status(fields.get("state"), answers.STATUS_WORDS) or JobStatus.RUNNING,
        submission_id=answers.text_or_none(fields.get("idempotency_key")),
    )


def _charge(row: object) -> Charge | SetAside:
    fields = row if isinstance(row, dict) else {}
    job_id, at = answers.job_id(fields.get("video")), answers.moment(fields.get("at"))
    micros, kind = answers.dollars(fields.get("usd")), fields.get("kind")
    if not isinstance(fields.get("video"), str) or job_id is None or at is None or micros is None:
        return SetAside("a row of the bill cannot be read", job_id, digest=digest(row))
    if kind not in ("charge", "refund"):
        return SetAside("a row of the bill has another label", job_id, digest=digest(row))
    row_id = answers.text_or_none(fields.get("id"))
    return Charge(job_id, micros, kind, at.timestamp(), row_id=row_id)
