"""The end of a completed request: fal has no failed state, so the result says whether and how it failed."""

from typing import Any

from resources.providers import answers
from resources.providers.answers import Scrubber
from resources.providers.base import FailureKind, JobState, JobStatus
from resources.providers.fal.errors import REFUSED, failure, is_error, with_places
from resources.providers.http import Answer


def end_of(status: dict[str, Any], answer: Answer, scrub: Scrubber) -> JobState | None:
    """The end of a completed request; None where the answer says nothing about the request.

    Args:
        status: The fields of its status.
        answer: To the question for its result.
    """
    fields, word = answer.fields, "COMPLETED"
    told = status.get("error") or status.get("error_type")
    raw = answers.storable({"status": status, "result": answer.document})
    metrics = status.get("metrics")
    worked = answers.amount(metrics.get("inference_time")) if isinstance(metrics, dict) else None
    if answer.ok and not told:
        urls = _media(fields)
        if answer.document is None:
            return None
        if urls:
            return JobState(
                JobStatus.SUCCEEDED,
                word,
                outputs=urls,
                inference_seconds=None if worked is None else float(worked),
                raw=raw,
            )
        error = "fal says that the request is completed, but its result has no video"
        return JobState(JobStatus.FAILED, word, error=error, failure=FailureKind.NO_OUTPUT, raw=raw)
    typed = answer.headers.get("x-fal-error-type") is not None
    if not told and not typed and not (is_error(fields) and answer.status in {*REFUSED, *range(500, 505)}):
        # a gateway's page, or a key that is refused, says nothing about the request
        return None
    error = with_places(fields) or answers.reason(fields) or answers.reason(told) or str(told or "")
    # "5xx is never billed", and a 422 may be (fal docs: errors, FAQ); a status without a result may be either
    is_free = answer.status >= 500 or answer.status in {400, 404}
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
