"""Reads WaveSpeed's answers, which have three numbers that are all called `code`.

They are the HTTP status, the *envelope code* (`code` beside `data`, 200 when the request went well) and the *task code*
(`data.code`, or a number from 1000 on in the envelope's place). A task that failed comes as HTTP 200 with envelope
code 200 (WaveSpeed contract, sections 1.1 to 1.5).

What a submit's answer proves, and why:

| answer | outcome | because |
|---|---|---|
| a prediction with an id, whatever the status | Accepted | a job with an id may be billed; a poll tells its state |
| 401, 402 | Rejected AUTH, INSUFFICIENT_FUNDS | no account was charged, even if a gateway wrote the page |
| 400, 403, 404, 413, 422 with an error of the API | Rejected | the API says that it refused |
| the same from a gateway (HTML, cut, empty) | Unknown | a filter may replace an answer after the task was created |
| 429 with envelope code 429 | Rejected THROTTLED | no source says that a refused rate creates a task |
| any other 429, 3xx, 408, other 4xx, 5xx | Unknown | the documentation says that a task may exist after a 5xx |
| 2xx with an envelope code of a refusal | Rejected | as the same HTTP status |
| 2xx otherwise (no id, unreadable, task codes 14xx and 5xxx) | Unknown | something was received |
"""

from dataclasses import dataclass
from typing import Any

from resources.providers import answers
from resources.providers.base import FailureKind
from resources.providers.http import Answer

_REFUSED = {
    400: FailureKind.INVALID,
    401: FailureKind.AUTH,
    402: FailureKind.INSUFFICIENT_FUNDS,
    403: FailureKind.AUTH,
    404: FailureKind.INVALID,
    413: FailureKind.INVALID,
    422: FailureKind.INVALID,
    429: FailureKind.THROTTLED,
}
TASK_REFUSED = {
    1200: FailureKind.MODERATION,
    1400: FailureKind.INVALID,
    1401: FailureKind.INVALID,
    1402: FailureKind.INVALID,
    1407: FailureKind.INSUFFICIENT_FUNDS,
    4006: FailureKind.INVALID,
}
"""Task codes that are final for the request (WaveSpeed contract, task codes)."""


@dataclass(frozen=True)
class Envelope:
    """An answer with each of its three codes by its own name."""

    http_status: int
    """The status of the HTTP answer."""
    envelope_code: int | None
    """`code` beside `data`, where it is a status."""
    task_code: int | None
    """`data.code` or the envelope's, where it is a number from 1000 on."""
    message: str
    """The provider's text about an error, not yet safe to show."""
    data: dict[str, Any]
    """The prediction, empty where there is none."""
    from_api: bool
    """Whether the API itself wrote the answer, and not a gateway."""

    @classmethod
    def of(cls, answer: Answer) -> "Envelope":
        """Read any answer."""
        fields = answer.fields
        data = fields.get("data")
        data = data if isinstance(data, dict) else {}
        outer, inner = answers.whole_number(fields.get("code")), answers.whole_number(data.get("code"))
        codes = [code for code in (inner, outer) if code is not None and code >= 1000]
        # no envelope, as in a webhook: the prediction itself
        if not data and "id" in fields:
            data = fields
        return cls(
            http_status=answer.status,
            envelope_code=outer if outer is not None and outer < 1000 else None,
            task_code=codes[0] if codes else None,
            message=answers.reason(data.get("error")) or answers.reason(fields) or answers.reason(data),
            data=data,
            from_api=outer is not None or bool(answers.reason(fields)),
        )

    @property
    def status(self) -> int:
        """The status that the API means: HTTP's, or the envelope's if HTTP's is a success."""
        if 200 <= self.http_status < 300 and self.envelope_code not in {None, 0}:
            return self.envelope_code or self.http_status
        return self.http_status

    @property
    def job_id(self) -> str | None:
        """The id of its prediction. Outside 2xx an id counts only if the answer has another field of a prediction."""
        known = answers.normal_status(self.data.get("status"), answers.STATUS_WORDS) is not None
        likely = 200 <= self.http_status < 300 or known or "urls" in self.data
        return answers.job_id(self.data.get("id")) if likely else None

    def says(self, statuses: set[int]) -> bool:
        """Whether the API itself, not a gateway's page, gives one of these statuses."""
        return self.from_api and self.status in statuses

    def refusal(self) -> FailureKind | None:
        """Why a submit was certainly refused, None if that is not certain (see the module's table)."""
        if self.http_status in {401, 402}:
            return _REFUSED[self.http_status]
        fine = 200 <= self.http_status < 300
        codes = [
            code for code in (None if fine else self.http_status, self.envelope_code) if code is not None
        ]
        doubtful = any(code not in _REFUSED for code in codes) or (429 in codes and self.envelope_code != 429)
        if not self.from_api or doubtful:
            return None
        if self.task_code is not None:
            return TASK_REFUSED.get(self.task_code)
        return self._kind(codes[-1]) if codes else None

    def _kind(self, code: int) -> FailureKind:
        """The kind of a certain refusal. The text decides only if a code has several meanings."""
        if code in {400, 403} and answers.NO_FUNDS.search(self.message):
            return FailureKind.INSUFFICIENT_FUNDS
        if code == 400 and answers.MODERATED.search(self.message):
            return FailureKind.MODERATION
        return _REFUSED[code]
