"""The oracle's books: one line of JSON per event, appended and fsynced before anything that follows from it is answered.

Nothing is ever changed in them. Times are the bench's clock (see `clock.py`); what the provider *says* may be off by
minutes, what stands here is not. Money is micro-dollars.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A job as it was created, with its fate.

    Attributes:
        id: The provider's id.
        provider: `wavespeed` or `aimlapi`.
        model: The model asked for.
        clip: Whose it is, read from the prompt; None is a stranger's.
        tag: Our id of the POST where the worker told it; only the judge uses it, no answer depends on it.
        request_id: The `X-Client-Request-Id` it came with.
        price: What it costs if it succeeds.
        at: When it was created.
        ends_at: When it ends.
        listed_at: When lists and bills begin to show it.
        fate: `done`, `failed`, `moderated`, `empty` or `stuck`.
        refund_at: When a failed one is paid back, None where nothing is charged before the end (AI/ML API).
        told: Whether its id was to be in the answer to its POST.
    """

    id: str
    provider: str
    model: str
    clip: str | None
    tag: str | None
    request_id: str | None
    price: int
    at: float
    ends_at: float
    listed_at: float
    fate: str
    refund_at: float | None
    told: bool

    @property
    def succeeds(self) -> bool:
        """Whether it has something to fetch at its end."""
        return self.fate in {"done", "stuck"}

    def charged(self, now: float) -> int:
        """What it has cost by now, refunds taken off."""
        if self.provider == "aimlapi":
            return self.price if self.succeeds and self.ends_at <= now else 0
        refunded = not self.succeeds and self.refund_at is not None and self.refund_at <= now
        return 0 if refunded else self.price


@dataclass
class Books:
    """The books as they were read.

    Attributes:
        jobs: By id.
        posts: Every POST: when, whose, and what was done to it.
        faults: How often each fault met somebody.
        calm_at: When the faults stopped, None while they go on.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    posts: list[dict[str, Any]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    calm_at: float | None = None


class Writer:
    """Appends to the books."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def job(self, job: Job) -> None:
        """Write a job down for good, before anybody hears of it."""
        self._append({"event": "job", **asdict(job)}, sync=True)

    def post(self, **values: Any) -> None:
        """Write down that a POST was received, and what is done to it."""
        self._append({"event": "post", **values})

    def fault(self, kind: str, at: float) -> None:
        """Write down that a fault met somebody."""
        self._append({"event": "fault", "kind": kind, "at": at})

    def calm(self, at: float) -> None:
        """Write down that the faults have stopped."""
        self._append({"event": "calm", "at": at}, sync=True)

    def ends(self, job_id: str, at: float) -> None:
        """Write down that a job ends at another time than was said at first."""
        self._append({"event": "ends", "id": job_id, "at": at})

    def _append(self, entry: dict[str, Any], *, sync: bool = False) -> None:
        os.write(self._file, json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        if sync:
            os.fsync(self._file)


def read(path: Path) -> Books:
    """Everything that was written down."""
    books = Books()
    for entry in _entries(path):
        match entry.pop("event"):
            case "job":
                job = Job(**entry)
                books.jobs[job.id] = job
            case "post":
                books.posts.append(entry)
            case "fault":
                books.faults[entry["kind"]] += 1
            case "calm":
                books.calm_at = entry["at"]
            case "ends":
                job = books.jobs[entry["id"]]
                books.jobs[job.id] = Job(**{**asdict(job), "ends_at": entry["at"]})
    return books


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
