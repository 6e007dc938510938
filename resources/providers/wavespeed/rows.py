"""Reads a row of WaveSpeed's listing and a row of its bill (WaveSpeed contract, 1.8 and 1.9). An unreadable row proves nothing."""

from typing import Literal

from resources.providers import answers
from resources.providers.base import Candidate, Charge, JobStatus
from resources.providers.rows import SetAside, digest

STATUS_WORDS = {**answers.STATUS_WORDS, "timeout": JobStatus.FAILED}
"""`timeout` is a terminal state of the task itself (WaveSpeed contract, status values)."""

KINDS: dict[str, Literal["charge", "refund"]] = {"deduct": "charge", "refund": "refund"}
"""What a row of the bill is, by its `billing_type` (WaveSpeed docs: check-billings)."""


def candidate(row: object) -> Candidate | SetAside:
    """A row of the listing; set aside if its id or time cannot be read."""
    fields = row if isinstance(row, dict) else {}
    job_id, created = answers.job_id(fields.get("id")), answers.moment(fields.get("created_at"))
    if job_id is None or created is None:
        missing = "id" if job_id is None else "time"
        at = None if created is None else created.timestamp()
        return SetAside(f"a listed job has no readable {missing}", job_id, at=at, digest=digest(row))
    body = fields.get("input", fields.get("inputs"))
    return Candidate(
        job_id,
        answers.text_or_none(fields.get("model")),
        created,
        answers.normal_status(fields.get("status"), STATUS_WORDS) or JobStatus.RUNNING,
        body=body if isinstance(body, dict) else None,
    )


def charge(row: object, requested_kind: str) -> Charge | SetAside:
    """A row of the bill by its own label; set aside if the label is another than requested, or if the row cannot be read.

    A search that ignored its `billing_type` once turned all charges into refunds.

    Args:
        row: As it came.
        requested_kind: The `billing_type` that was searched for.
    """
    fields = row if isinstance(row, dict) else {}
    prediction = fields.get("prediction")
    prediction = prediction if isinstance(prediction, dict) else {}
    job_id, booked = answers.job_id(prediction.get("uuid")), answers.moment(fields.get("created_at"))
    micros = answers.price(fields.get("price"))
    at = None if booked is None else booked.timestamp()
    label = answers.text_or_none(fields.get("billing_type"))
    shown_kind = None if label is None else label.strip().lower()
    kind = KINDS.get(shown_kind or "")
    why = None
    if job_id is None or at is None or micros is None:
        missing = "job" if job_id is None else "time" if at is None else "price"
        why = f"a row of the bill has no readable {missing}"
    elif shown_kind is None:
        why = "a row of the bill does not say whether it is a charge or a refund"
    elif shown_kind != requested_kind:
        why = f"a row of the bill is no {KINDS[requested_kind]}, as was asked for, but {f'a {kind}' if kind else 'something else'}"
    if why is not None or job_id is None or at is None or micros is None or kind is None:
        return SetAside(why or "", job_id, at=at, digest=digest(row))
    model = answers.text_or_none(prediction.get("model_uuid"))
    return Charge(job_id, micros, kind, at, model, row_id=answers.text_or_none(fields.get("uuid")))
