"""A row of WaveSpeed's listing and a row of its bill: what cannot be read proves nothing (WaveSpeed contract, 1.8 and 1.9)."""

from typing import Literal

from resources.errors import UnavailableError
from resources.providers import answers
from resources.providers.base import Candidate, Charge, JobStatus

STATUS_WORDS = {**answers.STATUS_WORDS, "timeout": JobStatus.FAILED}
"""`timeout` is a terminal state of the task itself (WaveSpeed contract, status values)."""


def candidate(row: object) -> Candidate:
    """A row of the listing.

    Raises:
        UnavailableError: It has no readable id and time.
    """
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


def charge(row: object, kind: Literal["charge", "refund"]) -> Charge:
    """A row of the bill.

    Raises:
        UnavailableError: It has no readable job, time and price.
    """
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
