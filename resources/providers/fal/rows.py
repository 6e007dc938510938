"""Reads a row of fal's listing and a row of its bill (fal docs: platform API). An unreadable row proves nothing.

A job's id is the path of its addresses, `owner/app/requests/<id>`: that path lacks the rest of a model's id, and rows of the listing and of
the bill name the whole model and the request apart.
"""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from resources.money import usd
from resources.providers import answers
from resources.providers.base import Candidate, Charge, JobStatus
from resources.providers.rows import SetAside, digest

JOB = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){1,2}/requests/[^/]+")
"""The form of a job's id."""

_NAMESPACES = {"comfy", "workflows"}
"""First parts of an id that has an owner and an app behind them (`fal_client`: AppId)."""
_NANO_PER_MICRO = 1000
_PATH = re.compile(r"/(?P<job>.+/requests/[^/]+?)(/status)?")


def job_of(endpoint: str, request_id: object) -> str | None:
    """A job's id, from its model and its request; None if they cannot be one."""
    name = answers.job_id(request_id)
    parts = endpoint.split("/")
    app = parts[: 3 if parts[0] in _NAMESPACES else 2]
    if name is None or "/" in name or len(app) < 2 or not all(app):
        return None
    return answers.job_id("/".join([*app, "requests", name]))


def job_in(fields: dict[str, Any], endpoint: str) -> str | None:
    """The job's id in the answer to a submit: the path of its addresses, whose host is never asked."""
    request_id = answers.job_id(fields.get("request_id"))
    if request_id is None:
        return None
    for name in ("status_url", "response_url"):
        urls = answers.media_urls(fields.get(name))
        path = _PATH.fullmatch(urlsplit(urls[0]).path) if urls else None
        # at a sandbox the path begins with the account's own
        job = "/".join(path["job"].rsplit("/", 4)[-4:]) if path else ""
        if path and path["job"].rpartition("/")[2] == request_id and JOB.fullmatch(job):
            own = job_of(endpoint, request_id)
            return own if own is not None and path["job"].endswith(own) else job
    return job_of(endpoint, request_id)


def candidate(row: object) -> Candidate | SetAside:
    """A row of the listing; set aside if its job or its time cannot be read."""
    fields = row if isinstance(row, dict) else {}
    model, sent = answers.text_or_none(fields.get("endpoint_id")), answers.moment(fields.get("sent_at"))
    job_id = job_of(model or "", fields.get("request_id"))
    if job_id is None or sent is None:
        missing = "id" if job_id is None else "time"
        at = None if sent is None else sent.timestamp()
        return SetAside(f"a listed request has no readable {missing}", job_id, at=at, digest=digest(row))
    code = answers.whole_number(fields.get("status_code"))
    ended = JobStatus.SUCCEEDED if code is not None and 200 <= code < 300 else JobStatus.FAILED
    body = fields.get("json_input")
    return Candidate(
        job_id,
        model,
        sent,
        JobStatus.RUNNING if code is None else ended,
        body=body if isinstance(body, dict) else None,
    )


def charge(row: object) -> Charge | SetAside:
    """A row of the bill; set aside if it cannot be read. A request that cost nothing has a row of nothing."""
    fields = row if isinstance(row, dict) else {}
    model, booked = answers.text_or_none(fields.get("endpoint_id")), answers.moment(fields.get("timestamp"))
    job_id = job_of(model or "", fields.get("request_id"))
    micros = answers.dollars(fields.get("cost_total"))
    if micros is None and (nano := answers.amount(fields.get("cost_estimate_nano_usd"))) is not None:
        micros = usd(nano / _NANO_PER_MICRO / Decimal(1_000_000))
    at = None if booked is None else booked.timestamp()
    if job_id is None or at is None or micros is None:
        missing = "request" if job_id is None else "time" if at is None else "price"
        return SetAside(f"a row of the bill has no readable {missing}", job_id, at=at, digest=digest(row))
    return Charge(job_id, micros, "charge", at, model)
