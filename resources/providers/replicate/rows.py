"""Reads a row of Replicate's list, which is a prediction. An unreadable row proves nothing."""

from resources.providers import answers
from resources.providers.base import Candidate, JobStatus
from resources.providers.rows import SetAside, digest

STATUS_WORDS = {
    "starting": JobStatus.QUEUED,
    "processing": JobStatus.RUNNING,
    "succeeded": JobStatus.SUCCEEDED,
    **dict.fromkeys(("failed", "canceled", "aborted"), JobStatus.FAILED),
}
"""Replicate's words for a prediction's state (Replicate docs: lifecycle)."""


def candidate(row: object) -> Candidate | SetAside:
    """A row of the list; set aside if its id or its time cannot be read. An input that was deleted shows nothing."""
    fields = row if isinstance(row, dict) else {}
    job_id, created = answers.job_id(fields.get("id")), answers.moment(fields.get("created_at"))
    if job_id is None or created is None:
        missing = "id" if job_id is None else "time"
        at = None if created is None else created.timestamp()
        return SetAside(f"a listed prediction has no readable {missing}", job_id, at=at, digest=digest(row))
    body = fields.get("input")
    removed = fields.get("data_removed") is True or not body
    return Candidate(
        job_id,
        answers.text_or_none(fields.get("model")),
        created,
        answers.normal_status(fields.get("status"), STATUS_WORDS) or JobStatus.RUNNING,
        body=body if isinstance(body, dict) and not removed else None,
    )
