"""The evidence of a history for the laws: the provider's books, the bucket, and the ledger's tables as plain rows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proof.jobs import JobRecord
from proof.laws import Case, FinalFacts, Row, Violation

WINDOW_SECONDS = 35.0
"""Seconds after a broken POST in which its job may be created, by the contract, the clocks' errors included."""
UNMEASURED_SECONDS = 125.0
"""Further seconds of that window if the provider's clock was not compared with ours before the POST."""


@dataclass(frozen=True)
class Doubts:
    """Why a history's lost POSTs may be impossible to settle."""

    dedicated: bool
    """Whether the key is declared as dedicated."""
    unread: bool
    """Whether single rows of the bill could not be read at times."""
    dated: bool
    """Whether another clock dates jobs than answers, which a client can tell only by its own jobs."""
    came_back: bool
    """Whether our own clock was ahead for a while, so that its times do not tell which came first."""
    called_back: frozenset[str] = frozenset()
    """Jobs whose callback was accepted, which names their POST with certainty."""


def flaw_of(objects: Mapping[str, bytes]) -> Callable[[JobRecord, Row], Violation | None]:
    """The faults of a job's files in the bucket."""

    def flaw(job: JobRecord, attempt: Row) -> Violation | None:
        key = f"{'videos' if job.good else 'quarantine'}/{job.clip}/{attempt['id']}"
        video, manifest = objects.get(f"{key}.mp4"), objects.get(f"{key}.json")
        if video is None or not video.startswith(f"{job.id} ".encode()):
            return Violation("lost", f"{job.id} of {job.clip} is {attempt['state']} and not in the bucket")
        if manifest is None or json.loads(manifest)["job"] != job.id:
            return Violation("lost", f"{job.id} of {job.clip} is {attempt['state']} without its manifest")
        return None

    return flaw


def ambiguity_of(
    jobs: Mapping[str, JobRecord], submissions: list[Row], journal: list[Row], doubts: Doubts
) -> Callable[[Row], str | None]:
    """Why a lost POST's job may be another POST's or a stranger's, as far as the provider shows."""
    posts = {row["id"]: row for row in submissions}
    unheard = {entry["attempt_id"] for entry in journal if entry["to_state"] == "unknown"}
    lost = [post for post in submissions if post["attempt_id"] in unheard]

    def why(attempt: Row) -> str | None:
        own = [
            job for job in jobs.values() if job.tag in posts and posts[job.tag]["attempt_id"] == attempt["id"]
        ]
        if not own:
            return "it made no job"
        job = own[0]
        if job.id in doubts.called_back:
            return None
        # a row that cannot be read may be about another job
        if job.end == "vanished" or doubts.came_back or doubts.unread or (doubts.dated and job.named is None):
            return "the provider's rows or clocks prove nothing"
        if job.named is not None or job.shown is not None:
            # by its id, or by its request with a seed that no other POST has
            return None
        if not doubts.dedicated:
            return "others may use the key"
        others = [post for post in lost if post["id"] != job.tag]
        return "another lost POST may have made it" if any(_within(p, job.at) for p in others) else None

    return why


def _within(post: Row, at: float) -> bool:
    """Whether a POST may have created a job at a time."""
    slack = UNMEASURED_SECONDS if post["clock_low"] is None else 3.0
    broke_off = min(post["ended_at"] or post["lease_until"], post["lease_until"])
    return bool(post["started_at"] - slack <= at <= broke_off + WINDOW_SECONDS + slack)


def outlasted(evidence: FinalFacts) -> int:
    """The number of jobs that ran on unseen after their purchase was given up: a declared window."""
    case = Case(evidence)
    return sum(case.outlasted(job) for job in case.ours)
