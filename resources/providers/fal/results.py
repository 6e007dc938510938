"""The end of a completed request. fal has no failed state, so the result shows whether and how a request failed."""

import re
from typing import Any

from resources.providers import answers
from resources.providers.answers import Scrubber
from resources.providers.base import FailureKind, JobState, JobStatus
from resources.providers.fal.errors import REFUSED, failure, is_error, with_places
from resources.providers.http import Answer

_RESULTS = {*REFUSED, *range(500, 505)}
"""Statuses of the result of a failed request."""
_TOO_EARLY = re.compile(r"\bstill in progress\b", re.IGNORECASE)
"""fal's error where a result is asked for before its request has ended (third-party clients read it)."""


def end_of(status: dict[str, Any], answer: Answer, scrub: Scrubber) -> JobState | None:
    """The end of a completed request; None if the answer says nothing about the request.

    Args:
        status: The fields of its status.
        answer: The answer with its result.
    """
    fields, word = answer.fields, "COMPLETED"
    message = status.get("error") or status.get("error_type")
    raw = answers.storable({"status": status, "result": answer.document})
    metrics = status.get("metrics")
    worked = answers.amount(metrics.get("inference_time")) if isinstance(metrics, dict) else None
    if answer.ok and not message:
        urls = _media(fields)
        if answer.document is None:
            return None
        if urls:
            return JobState(
                JobStatus.SUCCEEDED,
                word,
                outputs=urls,
                inference_seconds=None if worked is None else float(worked),
                draft_id=answers.text_or_none(fields.get("draft_id")),
                raw=raw,
            )
        error = "fal says that the request is completed, but its result has no video"
        failed = FailureKind.NO_OUTPUT
        return JobState(JobStatus.FAILED, word, error=error, failure=failed, may_be_charged=True, raw=raw)
    of_fal = answer.headers.get("x-fal-error-type") is not None or is_error(fields)
    readable = of_fal or (message and answer.document is not None)
    # a gateway's page, a refused key and a result that is not there yet say nothing about the request
    if not answer.ok and not (readable and answer.status in _RESULTS):
        return None
    if answer.status == 400 and not message and _TOO_EARLY.search(answers.reason(fields)):
        return None
    error = with_places(fields) or answers.reason(fields) or answers.reason(message) or str(message or "")
    # "5xx is never billed" is said of fal's own errors, a 422 may be billed, and nothing is said of the rest (fal docs: errors, FAQ)
    is_free = answer.status >= 500 and of_fal
    return JobState(
        JobStatus.FAILED,
        word,
        error=scrub.message(error) or f"fal says HTTP {answer.status}",
        failure=failure(answer, error),
        may_be_charged=not is_free,
        raw=raw,
    )


def _media(fields: dict[str, Any]) -> tuple[str, ...]:
    """The videos of a result: `video` at most models, a list at some."""
    return answers.media_urls(fields.get("video")) or answers.media_urls(fields.get("videos"))
