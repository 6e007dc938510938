"""Replicate's predictions.

Source of the facts: `contract.py`. Outputs, inputs and files are deleted an hour after a prediction's end, so a list is read and a clip is
fetched within that hour.

What a submit's answer proves, and why:

| answer | outcome | because |
|---|---|---|
| a prediction with an id | Accepted | a prediction may be charged |
| 401, 402 | Rejected AUTH, INSUFFICIENT_FUNDS | nobody to charge, whoever wrote the page |
| 403 with the API's error | Rejected INSUFFICIENT_FUNDS or AUTH | the API says that it refused |
| 400, 404, 405, 413, 422 with the API's error | Rejected INVALID or MODERATION | the API says that it refused |
| 429 with the API's error | Rejected THROTTLED | no source says that a refused rate creates a prediction |
| any of these from a gateway (HTML, cut, empty), 3xx, 408, 409, other 4xx, 5xx | Unknown | nothing is stated, so nothing is proved |
| 2xx without an id, or unreadable | Unknown | something was received |
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

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
from resources.providers.listing import Page, every_job, widened
from resources.providers.live_models import MODELS_LIMIT, LiveModel
from resources.providers.replicate.contract import CANCEL_AFTER, CAPABILITIES
from resources.providers.replicate.models import replicate_model
from resources.providers.replicate.rows import STATUS_WORDS, candidate
from resources.providers.rows import Rows

PAGE_BYTES = 8_000_000
"""Bytes of a page of the list, which carries the inputs and logs of a hundred predictions."""
UPLOAD_SECONDS = 300.0
"""How long the upload of a file may take."""
COLLECTIONS = ("text-to-video", "image-to-video")
"""Collections that are read for the list of models (Replicate docs: collections)."""

_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_CERTAIN = {401: FailureKind.AUTH, 402: FailureKind.INSUFFICIENT_FUNDS}
_REFUSED = {400, 404, 405, 413, 422}
# E005 is Replicate's own code for flagged content
_FLAGGED = re.compile(r"\bE005\b|sensitive", re.IGNORECASE)


class Replicate(ProviderClient):
    """One account at Replicate; implements `resources.providers.provider.Provider`.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    title = "Replicate"
    key_advice = "Set REPLICATE_API_TOKEN to a token of the account"
    job_word = "prediction"
    capabilities = CAPABILITIES

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """See `Provider.submit`. A request that cannot be built is `Rejected` with status 0: nothing was sent.

        The event `start` names the prediction within seconds, also where the answer was lost.
        """
        problem = None
        sent: dict[str, Any] = {"input": body}
        if self._webhook_url is not None:
            sent["webhook"] = self._webhook_url(submission_id)
            sent["webhook_events_filter"] = ["start", "completed"]
        if not _ENDPOINT.fullmatch(endpoint):
            problem = (
                f"{endpoint[:200]!r} is not an official model of Replicate (like 'bytedance/seedance-2.0')"
            )
        try:
            content = encode(sent)
        except ValueError as error:
            problem = self._unwritable(error)
        if problem is not None:
            return self._unsent(problem)
        answer = await self._http.submit(
            f"/v1/models/{endpoint}/predictions",
            content,
            deadline_seconds=deadline_seconds,
            headers={"Cancel-After": CANCEL_AFTER},
        )
        return answer if isinstance(answer, NotSent | Unknown) else self._outcome(answer)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """See `Provider.poll`."""
        if answers.job_id(job_id) is None:
            return PollFailed("this cannot be a prediction of Replicate")
        answer = await self._http.ask("GET", f"/v1/predictions/{quote(job_id, safe='')}", limit=PAGE_BYTES)
        if isinstance(answer, PollFailed):
            return answer
        fields = answer.fields
        if answer.ok and isinstance(fields.get("status"), str):
            if fields.get("id") is not None and answers.job_id(fields["id"]) != job_id:
                return PollFailed("Replicate answered for another prediction than the one asked for")
            return self._state(fields)
        is_gone = answer.status in {404, 410} and _is_error(fields)
        if not is_gone or age_seconds <= self.capabilities.propagation_seconds:
            return self._no_state(answer)
        return self._gone(f"HTTP {answer.status}", fields, answer.document)

    async def list_jobs(
        self,
        *,
        after: datetime,
        before: datetime,
        endpoints: Collection[str],  # noqa: ARG002 - it lists all
    ) -> Rows[Candidate]:
        """See `Provider.list_jobs`. Predictions of the API and of the website, running ones too, newest first.

        Raises:
            UnavailableError: The list could not be read to its end.
        """
        start, end = widened(after, before)
        cursors: list[str | None] = [None]

        async def read(number: int, _: int) -> Page[Candidate]:
            query = {"created_after": start, "created_before": end}
            cursor = cursors[number]
            if cursor is not None:
                query["cursor"] = cursor
            answer = await self._http.ask("GET", "/v1/predictions", params=query, limit=PAGE_BYTES)
            fields = self._fields(answer, "list its predictions")
            rows, following = fields.get("results"), fields.get("next")
            if not isinstance(rows, list) or "next" not in fields:
                raise UnavailableError(
                    "Replicate's list has no rows (`results`) or no `next`; its format may have changed"
                )
            cursors.append(_cursor(following))
            return Page([candidate(row) for row in rows], more=following is not None)

        return await every_job(read, after=after, before=before)

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:  # noqa: ARG002 - the interface
        """See `Provider.charges`. Its API has no bill.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError("Replicate's API shows no bill; look at replicate.com/account/billing")

    async def check(self) -> None:
        """See `Provider.check`. Asks whose token it is, which is free."""
        self._fields(await self._http.ask("GET", "/v1/account"), "show its account")

    async def balance(self) -> int | None:
        """See `Provider.balance`. Its API has no call for it."""
        await self.check()
        return None

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:  # noqa: ARG002 - the interface
        """See `Provider.quote`. Its API has no prices."""
        return None

    async def models(self) -> list[LiveModel]:
        """See `Provider.models`. The models of its collections of videos, with the schemas of their inputs."""
        models: dict[str, LiveModel] = {}
        for collection in COLLECTIONS:
            answer = await self._http.ask("GET", f"/v1/collections/{collection}", limit=MODELS_LIMIT)
            rows = self._fields(answer, "list its models").get("models")
            if not isinstance(rows, list):
                raise UnavailableError(
                    "Replicate's collection has no models (`models`); its format may have changed"
                )
            for row in rows:
                model = replicate_model(row)
                if model is not None:
                    models[model.id] = model
        return list(models.values())

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        """See `Provider.upload`. A form with the key; the address that it gives can be read by Replicate alone."""
        answer = await self._http.ask(
            "POST", "/v1/files", files={"content": (name, data, content_type)}, seconds=UPLOAD_SECONDS
        )
        if not isinstance(answer, Answer) or not answer.ok:
            refused = isinstance(answer, Answer) and answer.status in _REFUSED and _is_error(answer.fields)
            return self._not_uploaded(answer, "takes no file", refused=refused)
        places = answer.fields.get("urls")
        urls = answers.media_urls([places.get("get")] if isinstance(places, dict) else None)
        if len(urls) != 1:
            return UploadFailed("Replicate's address of the file cannot be understood", FailureKind.PROVIDER)
        return Uploaded(urls[0])

    async def webhook_secret(self) -> str:
        """The secret that signs the account's webhooks (Replicate docs: verify webhooks).

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: Replicate does not answer, or not readably.
        """
        answer = await self._http.ask("GET", "/v1/webhooks/default/secret")
        secret = answers.text_or_none(self._fields(answer, "give its webhook secret").get("key"))
        if secret is None:
            raise UnavailableError("Replicate's answer names no webhook secret; its format may have changed")
        return secret

    def _outcome(self, answer: Answer) -> SubmitOutcome:
        fields = answer.fields
        job_id = answers.job_id(fields.get("id"))
        if job_id is not None and (answer.ok or "urls" in fields):
            return Accepted(job_id, answers.text_or_none(fields.get("model")), answers.storable(fields))
        kind = None if answer.ok else _refusal(answer)
        if kind is None:
            return Unknown(f"{self._said(answer)}; a prediction may have been created", answer.status)
        return self._refused(kind, answer)

    def _state(self, fields: dict[str, Any]) -> JobState:
        word = self._http.scrub.message(fields["status"], 100)
        status = answers.normal_status(fields["status"], STATUS_WORDS) or JobStatus.RUNNING
        urls, error = answers.media_urls(fields.get("output")), self._http.scrub.message(fields.get("error"))
        raw = answers.storable(fields)
        if status is JobStatus.SUCCEEDED and not urls and fields.get("data_removed") is True:
            return self._gone(word, "its output was deleted, an hour after its end", fields)
        failure = None
        # what is canceled while it runs is charged until then, and what is aborted is not; what has succeeded is charged
        may_be_charged = word.lower() in {"canceled", "cancelled"} or status is JobStatus.SUCCEEDED
        if status is JobStatus.SUCCEEDED and not urls:
            status, failure = JobStatus.FAILED, FailureKind.NO_OUTPUT
            error = error or "Replicate says that the prediction has succeeded, but it has no output"
        elif status is JobStatus.FAILED:
            failure = FailureKind.MODERATION if _FLAGGED.search(error) else answers.failure_in_text(error)
            error = error or f"the prediction is {word}"
        metrics = fields.get("metrics")
        worked = answers.amount(metrics.get("predict_time")) if isinstance(metrics, dict) else None
        return JobState(
            status,
            word,
            outputs=urls,
            model=answers.text_or_none(fields.get("model")),
            error=error or None,
            failure=failure,
            inference_seconds=None if worked is None else float(worked),
            may_be_charged=may_be_charged and status is JobStatus.FAILED,
            raw=raw,
        )


def _is_error(fields: dict[str, Any]) -> bool:
    """Whether Replicate itself, and not a gateway, wrote an error."""
    return bool(answers.text_or_none(fields.get("detail")) or answers.text_or_none(fields.get("title")))


def _refusal(answer: Answer) -> FailureKind | None:
    """Why a submit was certainly refused; None if that is not certain (see the module's table)."""
    if answer.status in _CERTAIN:
        return _CERTAIN[answer.status]
    fields = answer.fields
    repeated = answers.whole_number(fields.get("status"))
    if not _is_error(fields) or repeated not in {None, answer.status}:
        return None
    text = f"{fields.get('title') or ''} {answers.reason(fields)}"
    if answer.status == 403:
        return FailureKind.INSUFFICIENT_FUNDS if answers.NO_FUNDS.search(text) else FailureKind.AUTH
    if answer.status == 429:
        return FailureKind.THROTTLED
    kind = FailureKind.MODERATION if answers.MODERATED.search(text) else FailureKind.INVALID
    return kind if answer.status in _REFUSED else None


def _cursor(following: object) -> str | None:
    """The cursor in the address of the next page, whose host is never asked.

    Raises:
        UnavailableError: There is an address and no cursor in it.
    """
    if following is None:
        return None
    try:
        values = parse_qs(urlsplit(following).query).get("cursor") if isinstance(following, str) else None
    except ValueError:
        values = None
    if not values:
        raise UnavailableError("Replicate says that more predictions follow, and does not say where")
    return values[0]
