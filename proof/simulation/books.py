"""The oracle: a provider's own record of an account, with its jobs, their course and their cost.

It imports nothing of dailies. It receives POSTs and polls, and keeps its books.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proof.jobs import End, JobRecord


@dataclass(frozen=True)
class Rules:
    """The public rules of a provider."""

    name: str
    """Name of the provider."""
    charges_first: bool
    """A failed job is charged and given back later; otherwise it is never charged."""
    refund_seconds: float
    """Seconds until that refund."""
    lists_running: bool
    """Its list shows jobs that still run."""
    echoes_tags: bool
    """Its list shows the client's id of the POST."""
    tells_cost: bool
    """A finished job's answer has its cost."""
    echoes_input: bool = False
    """Its list shows each job's request."""
    bills: bool = True
    """It has a bill of single jobs."""
    bills_after_seconds: float = 5.0
    """Seconds from a job's start until its charge is on the bill."""


@dataclass(frozen=True)
class Course:
    """The course of a job, decided at its start."""

    end: End
    """Its end."""
    seconds: float
    """Seconds that it takes."""
    lag: float
    """Seconds until it appears in the list."""
    file: str = "good"
    """The kind of its file: `good`, `small`, `broken`."""
    shows: str | None = None
    """A false end that polls show first: `failed`, `empty` or `gone`; None for the true end at once."""
    taken_back_after: float = 0.0
    """Seconds for which they show it."""


@dataclass
class SoldJob:
    """One job."""

    id: str
    """The provider's id of the job."""
    clip: str | None
    """The ordered clip; None for a stranger's job."""
    tag: str | None
    """The client's id of the POST."""
    model: str
    """The ordered endpoint."""
    price: int
    """Its price."""
    at: float
    """When it was created, in true time."""
    fate: Course
    """Its course."""
    body: dict[str, Any] | None = None
    """The request."""
    address: int = 0
    """The number of renewals of its file's address."""
    expired: int = -1
    """Addresses up to this one no longer work."""
    shown_at: list[float] = field(default_factory=list)
    """When a poll was shown an end that is taken back."""

    @property
    def seen_over(self) -> bool:
        """Whether an end that was taken back was shown often and long enough to be accepted: see `docs/reliability.md`."""
        if not self.shown_at:
            return False
        lasted = self.shown_at[-1] - self.shown_at[0]
        if self.fate.shows == "failed":
            return len(self.shown_at) >= 2 and lasted >= 2.5
        return len(self.shown_at) >= 3 and lasted >= 175

    @property
    def ends_at(self) -> float:
        """When it ends."""
        return self.at + self.fate.seconds

    @property
    def ours(self) -> bool:
        """Whether one of our POSTs made it."""
        return self.clip is not None


@dataclass(frozen=True)
class BillLine:
    """One line of the bill."""

    job: str
    model: str
    amount: int
    refund: bool
    at: float
    tag: str | None = None


@dataclass
class ProviderBooks:
    """The account."""

    rules: Rules
    """The provider's rules."""
    clock: Callable[[], float]
    """True time in seconds."""
    jobs: dict[str, SoldJob] = field(default_factory=dict)
    """Every job by id, oldest first."""

    def create(
        self,
        *,
        clip: str | None,
        tag: str | None,
        model: str,
        price: int,
        fate: Course,
        body: dict[str, Any] | None = None,
    ) -> SoldJob:
        """A POST was accepted."""
        job = SoldJob(f"job-{len(self.jobs)}", clip, tag, model, price, self.clock(), fate, body)
        self.jobs[job.id] = job
        return job

    @property
    def ours(self) -> list[SoldJob]:
        """The jobs that our POSTs made."""
        return [job for job in self.jobs.values() if job.ours]

    def word(self, job_id: str) -> str:
        """The true status of a job; `gone` when the provider does not know it."""
        job = self.jobs.get(job_id)
        if job is None:
            return "gone"
        now = self.clock()
        if job.fate.end == "vanished" and now >= job.ends_at:
            return "gone"
        if now < job.ends_at:
            return "created" if now < job.at + job.fate.seconds / 3 else "processing"
        return {"succeeded": "completed", "failed": "failed", "moderated": "failed"}[job.fate.end]

    def shown(self, job_id: str) -> str:
        """The status that a poll shows: the true one, or an end that will be taken back."""
        job = self.jobs.get(job_id)
        word, now = self.word(job_id), self.clock()
        if job is None or job.fate.shows is None or word != "completed":
            return word
        if now >= job.ends_at + job.fate.taken_back_after:
            return word
        job.shown_at.append(now)
        return job.fate.shows

    def listed(self, after: float, before: float) -> list[SoldJob]:
        """The listed jobs of a window of true time, newest first."""
        now = self.clock()
        shown = []
        for job in self.jobs.values():
            visible = job.at if self.rules.lists_running else job.ends_at
            gone = job.fate.end == "vanished" and now >= job.ends_at
            if after <= job.at <= before and now >= visible + job.fate.lag and not gone:
                shown.append(job)
        return sorted(shown, key=lambda job: job.at, reverse=True)

    def bill(self, after: float, before: float) -> list[BillLine]:
        """The lines of a window of true time."""
        now = self.clock()
        return [e for e in self._entries() if after <= e.at <= before and e.at <= now]

    def _entries(self) -> Iterator[BillLine]:
        delay = self.rules.bills_after_seconds
        for job in self.jobs.values():
            if self.rules.charges_first:
                yield BillLine(job.id, job.model, job.price, refund=False, at=job.at + delay)
                if job.fate.end in {"failed", "moderated"}:
                    given_back = job.ends_at + self.rules.refund_seconds
                    yield BillLine(job.id, job.model, job.price, refund=True, at=given_back)
            elif job.fate.end in {"succeeded", "vanished"}:
                tag = job.tag if self.rules.echoes_tags else None
                yield BillLine(job.id, job.model, job.price, refund=False, at=job.ends_at + delay, tag=tag)

    def costs(self, job: SoldJob) -> int:
        """A job's final cost."""
        return job.price if job.fate.end in {"succeeded", "vanished"} else 0

    def as_evidence(self) -> dict[str, JobRecord]:
        """All jobs in the form of the laws."""
        return {job.id: self._as_evidence(job) for job in self.jobs.values()}

    def _as_evidence(self, job: SoldJob) -> JobRecord:
        return JobRecord(
            id=job.id,
            provider=self.rules.name,
            model=job.model,
            clip=job.clip,
            tag=job.tag,
            price=job.price,
            at=job.at,
            ends_at=job.ends_at,
            end=job.fate.end,
            listed_at=job.at + job.fate.lag,
            refund_at=job.ends_at + self.rules.refund_seconds if self.rules.charges_first else None,
            lists_running=self.rules.lists_running,
            named=job.tag if self.rules.echoes_tags else None,
            shown=json.dumps(job.body, sort_keys=True) if self.rules.echoes_input else None,
            seen_over=job.seen_over,
            good=job.fate.file == "good",
        )
