"""The provider's books as the judge reads them: which jobs there are, what became of them, what they cost.

The sandbox commits a job, fsynced, before anything that follows from it is answered. Times are seconds of the proof's clock
(see `proof.clock`): what a provider *says* may be off by minutes, what stands here is not. Money is micro-dollars.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CLIP = re.compile(r"\[([a-z0-9][a-z0-9-]{2,79})\]")
"""Where a prompt names its clip."""
STUCK_SECONDS = 1000.0
"""No other job takes longer."""
USUAL = {"lag", "size"}
"""Rules of the fault script that are no faults."""


@dataclass(frozen=True)
class Job:
    """A job as it was created, with its fate."""

    id: str
    provider: str
    """`wavespeed` or `aimlapi`."""
    model: str
    clip: str | None
    """Whose it is, read from the prompt; None is a stranger's."""
    tag: str | None
    """Our id of the POST; no answer of WaveSpeed's depends on it."""
    request_id: str | None
    """The `X-Client-Request-Id` that the provider knows it by, None for WaveSpeed."""
    price: int
    at: float
    """When it was created."""
    ends_at: float
    listed_at: float
    """When lists and bills begin to show it."""
    fate: str
    """`done`, `failed`, `empty` or `stuck`."""
    refund_at: float | None
    """When a failed one is paid back, None where nothing is charged before the end (AI/ML API)."""
    file: str = ""
    """Path of its file at the CDN."""

    @property
    def succeeds(self) -> bool:
        """Whether it has something to fetch at its end."""
        return self.fate in {"done", "stuck"}

    @property
    def is_charged(self) -> bool:
        """Whether it is paid for in the end: a job that completes with nothing is."""
        return self.fate != "failed"

    def charged(self, now: float) -> int:
        """What it has cost by now, refunds taken off."""
        if self.provider == "aimlapi":
            return self.price if self.is_charged and self.ends_at <= now else 0
        refunded = not self.is_charged and self.refund_at is not None and self.refund_at <= now
        return 0 if refunded else self.price


@dataclass
class Books:
    """The books of every provider."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """By id."""
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault met somebody."""


def read(
    documents: Mapping[str, Mapping[str, Any]], *, off: Mapping[str, float], refund_seconds: float
) -> Books:
    """Read what each provider's stand-in answers under `/admin/books?requests=1`.

    Args:
        documents: By provider.
        off: By how many seconds each provider's clock is wrong.
        refund_seconds: How long after its end a failed job is paid back.
    """
    books = Books()
    for provider, document in documents.items():
        for row in document["jobs"]:
            job = _job(row, off.get(provider, 0.0), refund_seconds)
            books.jobs[job.id] = job
            books.faults["stranger's job"] += job.clip is None
        for visit in document["requests"]:
            books.faults.update(name for name in visit["faults"].split(", ") if name and name not in USUAL)
    books.faults = +books.faults
    return books


def _job(row: Mapping[str, Any], off: float, refund_seconds: float) -> Job:
    fate, named = row["fate"], CLIP.search(row["body"].get("prompt", ""))
    at, ends_at = row["received_at"] - off, row["ends_at"] - off
    kind = "failed" if fate["error"] else "empty" if fate["empty"] else "done"
    if kind == "done" and "stuck" in fate["faults"]:
        kind = "stuck"
    echoes = row["provider"] == "aimlapi"
    return Job(
        id=row["id"],
        provider=row["provider"],
        model=row["model"],
        clip=named[1] if named else None,
        tag=row["submission_id"],
        request_id=row["submission_id"] if echoes else None,
        price=row["price_micros"],
        at=at,
        ends_at=ends_at,
        listed_at=at + fate["hidden_seconds"],
        fate=kind,
        refund_at=None if echoes else ends_at + refund_seconds,
        file=f"/cdn/{row['media']}.mp4",
    )
