"""Which lost POSTs nobody could settle without a guess: decided from the oracle's truth and the contracts, not from the code.

A client sees the provider's list and bill, its own clock against the provider's, and which jobs it was told. From that:

AI/ML API names the id of every POST in its logs, so a job is found by its name. WaveSpeed names nothing; a job may be a
POST's when it was created while that POST could still create one and nobody was told of it. It is that POST's for certain
only if nobody else could have made it: no other lost POST of the model at the time, and no stranger seen to buy the model
with this key. And a POST has surely made none only if no job that nobody was told of appeared in its time (the provider may
have run another model in silence: WaveSpeed contract, trap 16), and a job of ours that was accepted later is in the list. How long
a list lags is not documented, so a miss says nothing before twenty jobs of ours were seen to appear in it.
"""

from bench.faulting.books import Job
from bench.faulting.evidence import Evidence, Row

ACCEPTANCE_SECONDS = 30.0
"""How long after a client gave up the oracle creates its job at the latest, and more."""
CLOCKS_SECONDS = 6.0
"""How well two clocks can be compared by `Date` headers."""
ENOUGH_LAGS = 20
STRANGER_SECONDS = 900.0
"""For how long before it a stranger's purchase makes one suspect others."""


def why_ambiguous(evidence: Evidence, attempt: Row) -> str | None:
    """Why an attempt that was unknown cannot be settled, None when it can."""
    posts = [p for p in evidence.submissions.values() if p["attempt_id"] == attempt["id"]]
    lost = [p for p in posts if p["state"] in {"unknown", "absent"} or _adopted(attempt, p)]
    reasons = [reason for post in lost if (reason := _why(evidence, attempt, post))]
    return reasons[0] if reasons else None


def _adopted(attempt: Row, post: Row) -> bool:
    return bool(post["state"] == "accepted" and post["detail"] == attempt["job_id"])


def _window(evidence: Evidence, post: Row) -> tuple[float, float, float]:
    """When a POST began, was given up, and may have created a job at the latest, in true time."""
    skew = evidence.skews.get(int(post["owner"].split(":")[1]), 0.0)
    began = post["started_at"] - skew
    gave_up = min(post["ended_at"] or post["lease_until"], post["lease_until"]) - skew
    return began - CLOCKS_SECONDS, gave_up, gave_up + ACCEPTANCE_SECONDS + CLOCKS_SECONDS


def _why(evidence: Evidence, attempt: Row, post: Row) -> str | None:
    began, gave_up, until = _window(evidence, post)
    account = [job for job in evidence.books.jobs.values() if job.provider == attempt["provider"]]
    own = next((job for job in account if job.tag == post["id"]), None)
    if attempt["provider"] == "wavespeed":
        others = [job for job in account if job is not own and not _was_told(evidence, job)]
        near = [job for job in others if began <= job.at <= until]
        strangers = [
            job
            for job in others
            if job.clip is None
            and job.model == attempt["endpoint"]
            and began - STRANGER_SECONDS <= job.at <= until
        ]
        if own is not None:
            if strangers:
                return "a stranger buys the same model"
            rival = next(
                (p for p in _lost_posts(evidence, attempt, post) if _could_own(evidence, p, own)), None
            )
            return None if rival is None else "another lost submit may have made it"
        if near:
            return "a job that nobody ordered here appeared in its time"
    if own is None and not any(_was_told(evidence, job) and job.at > gave_up for job in account):
        return "nothing of ours was accepted later"
    held_at = evidence.held_at.get(attempt["id"])
    known = [at for at in evidence.lags.get(attempt["provider"], []) if held_at is None or at <= held_at]
    if own is None and len(known) < ENOUGH_LAGS:
        return "too few jobs were seen to appear in the list"
    return None


def _was_told(evidence: Evidence, job: Job) -> bool:
    """Whether the answer to its POST reached us."""
    if job.clip is None or not job.told or job.tag is None:
        return False
    post = evidence.submissions.get(job.tag)
    return post is not None and post["state"] == "accepted"


def _lost_posts(evidence: Evidence, attempt: Row, post: Row) -> list[Row]:
    """Other POSTs of the model whose outcome was unknown at some time."""
    found = []
    for other in evidence.submissions.values():
        row = evidence.attempts[other["attempt_id"]]
        if (
            other["id"] != post["id"]
            and row["id"] in evidence.ever_unknown
            and row["provider"] == attempt["provider"]
            and row["endpoint"] == attempt["endpoint"]
        ):
            found.append(other)
    return found


def _could_own(evidence: Evidence, post: Row, job: Job) -> bool:
    began, _, until = _window(evidence, post)
    return began <= job.at <= until
