"""A request in fal's form: its id, its addresses, and its result."""

from typing import Any

from resources.sandbox.books import Job, Phase

BASE = "/fal"
"""The path of its three hosts at the sandbox."""
REFUSED = "content policy"
"""Words of a failure that is a 422 of the content checker; every other is an error of the infrastructure."""


def request_id(job: Job) -> str:
    """The request's own id, the last part of the books' id."""
    return job.id.rpartition("/")[2]


def addresses(job: Job, base_url: str) -> dict[str, str]:
    """The addresses of a request. They lack the rest of the model's id (fal docs: queue API)."""
    of = f"{base_url}{BASE}/{job.id}"
    return {"response_url": of, "status_url": f"{of}/status", "cancel_url": f"{of}/cancel"}


def result(job: Job, phase: Phase) -> tuple[int, dict[str, Any]]:
    """Status and document of an ended request's result."""
    if phase is Phase.FAILED:
        return failure_of(job.fate.error or "")
    if job.fate.empty:
        return 200, {"seed": job.params.get("seed", 0)}
    video = {
        "url": f"{job.base_url}/cdn/{job.media}.mp4",
        "content_type": "video/mp4",
        "file_name": "output.mp4",
    }
    named = {"draft_id": job.media} if job.params.get("draft") is True else {}
    return 200, {"video": video, "seed": job.params.get("seed", 0), **named}


def failure_of(text: str) -> tuple[int, dict[str, Any]]:
    """Status and document of a failed request's result."""
    if REFUSED in text.lower():
        detail = {"loc": ["body", "prompt"], "msg": text, "type": "content_policy_violation"}
        return 422, {"detail": [detail]}
    return 500, {"detail": text, "error_type": "internal_server_error"}
