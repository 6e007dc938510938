"""The sandbox's books: every accepted job and every request, in SQLite, in memory or in a file.

The course of a job is decided when it is accepted, and stored as times. Its state is a comparison with the clock, so no task
runs for it, and a restart loses nothing.
"""

import functools
import json
import math
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from resources.sandbox.endpoints import Flaw, Frame
from resources.sandbox.faults import Tally


class Phase(Enum):
    """The phase of a job; each provider has its own words for the phases."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Fate:
    """The faults of one job."""

    error: str | None = None
    """The text of its failure, None if it succeeds."""
    code: int = 0
    """WaveSpeed's task code of the failure."""
    empty: bool = False
    """It completes with no output."""
    taken_back: str | None = None
    """A false end that polls show first: `failed`, `empty` or `gone`."""
    taken_back_after: float = 0
    """Seconds for which polls show the false end."""
    taken_back_error: str = ""
    """The text of a false failure."""
    size: tuple[int, int] | None = None
    """Its clip has this width and height instead of the right ones."""
    flaw: Flaw | None = None
    """Its clip is black, does not move or is silent."""
    mute: bool = False
    """Its clip has no sound track."""
    hidden_seconds: float = 0
    """Seconds for which lists do not show it."""
    unknown_seconds: float = 0
    """Seconds for which polls do not know it."""
    faults: tuple[str, ...] = ()
    """Names of the rules behind these faults."""


@dataclass(frozen=True)
class Job:
    """One accepted job."""

    number: int
    """Number of the job in this sandbox, from 1."""
    id: str
    """The provider's id."""
    provider: str
    """Name of the provider."""
    account: str
    """The account that ordered it: the provider's name, and for a second key `<provider>.<name>`."""
    endpoint: str
    """The ordered model id."""
    model: str
    """The model id that does the work."""
    media: str
    """Name of its file at the CDN."""
    body: dict[str, Any]
    """The request's body."""
    params: dict[str, Any]
    """The parameters of the job: checked, with defaults, without unknown keys."""
    submission_id: str | None
    """The `X-Client-Request-Id` of the request, None if it has no valid one."""
    base_url: str
    """The address that received the request; a webhook names outputs under it."""
    webhook: str | None
    """The address to which the provider reports the end, None for no report."""
    received_at: float
    """When it was accepted. All times are seconds since the epoch."""
    starts_at: float
    """When it gets a slot."""
    ends_at: float
    """When it ends; infinite for a stuck job."""
    price_micros: int
    """What it costs if it is charged."""
    fate: Fate = field(default_factory=Fate)
    """Its faults."""
    polls: int = 0
    """The number of polls."""
    fetches: int = 0
    """The number of downloads."""

    def phase(self, now: float) -> Phase:
        """The phase at this moment."""
        if now < self.starts_at:
            return Phase.WAITING
        if now < self.ends_at:
            return Phase.WORKING
        return Phase.FAILED if self.fate.error is not None else Phase.DONE

    def shows(self, now: float) -> str | None:
        """The false end that polls show now: `failed`, `empty` or `gone`; None if they show the truth."""
        if now < self.received_at + self.fate.unknown_seconds:
            return "gone"
        ended = self.phase(now) is Phase.DONE
        return self.fate.taken_back if ended and now < self.ends_at + self.fate.taken_back_after else None

    def listed(self, now: float) -> bool:
        """Whether lists and logs show it now."""
        return now >= self.received_at + self.fate.hidden_seconds

    def frame(self, planned: Frame) -> Frame:
        """The frame of its clip, from the frame that the endpoint would make."""
        width, height = self.fate.size or (planned.width, planned.height)
        audio = planned.audio and not self.fate.mute
        return planned.model_copy(
            update={"width": width, "height": height, "audio": audio, "flaw": self.fate.flaw}
        )


@dataclass(frozen=True)
class Visit:
    """One request."""

    at: float
    """Seconds since the epoch."""
    provider: str
    """Name of the provider, or `cdn`."""
    operation: str
    """The operation of the request."""
    method: str
    """HTTP method."""
    path: str
    """Path without the query."""
    status: int | None
    """The status of the answer, None if the connection was dropped."""
    job_id: str | None = None
    """The job that it created or read."""
    endpoint: str | None = None
    """The model id in the request."""
    submission_id: str | None = None
    """Its `X-Client-Request-Id` as received."""
    body: str | None = None
    """Its body, for a submit."""
    faults: str = ""
    """Names of the rules that fired."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, provider TEXT NOT NULL, account TEXT NOT NULL,
    endpoint TEXT NOT NULL, model TEXT NOT NULL,
    media TEXT NOT NULL UNIQUE, body TEXT NOT NULL, params TEXT NOT NULL, submission_id TEXT, base_url TEXT NOT NULL, webhook TEXT,
    received_at REAL NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL, price_micros INTEGER NOT NULL,
    fate TEXT NOT NULL, fails INTEGER NOT NULL, polls INTEGER NOT NULL DEFAULT 0, fetches INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0, reported INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (account, ends_at);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (account, received_at);
CREATE TABLE IF NOT EXISTS visits (
    at REAL NOT NULL, provider TEXT NOT NULL, operation TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    status INTEGER, job_id TEXT, endpoint TEXT, submission_id TEXT, body TEXT, faults TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tallies (rule TEXT PRIMARY KEY, seen INTEGER NOT NULL, fired INTEGER NOT NULL);
"""
_JOB_COLUMNS = ", ".join(f.name for f in fields(Job))
_VISIT_COLUMNS = ", ".join(f.name for f in fields(Visit))


class Books:
    """The tables.

    Args:
        path: The database's file, None for a database in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        # made in one thread and used in the server's, never in two at once
        self._db = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0.1
        )
        self._db.row_factory = sqlite3.Row
        # a killed process loses nothing, and only a request that makes a job costs an fsync (see `add`); two
        # sandboxes on one file would give out the same slots and the same money
        try:
            self._db.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            )
            self._add_accounts()
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def _add_accounts(self) -> None:
        """Add the accounts to the jobs of a sandbox that is older than them."""
        columns = [row["name"] for row in self._db.execute("PRAGMA table_info(jobs)")]
        if columns and "account" not in columns:
            self._db.executescript(
                "ALTER TABLE jobs ADD COLUMN account TEXT NOT NULL DEFAULT ''; UPDATE jobs SET account = provider;"
                "DROP INDEX jobs_by_end; DROP INDEX jobs_by_time;"
            )

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def add(self, job: Job) -> None:
        """Store a job. It survives a loss of power, because it costs money."""
        row = {**asdict(job), "fails": job.fate.error is not None}
        row |= {name: json.dumps(row[name]) for name in ("body", "params", "fate")}
        self._db.execute("PRAGMA synchronous=FULL")
        self._insert("jobs", row)
        self._db.execute("PRAGMA synchronous=OFF")

    def next_number(self) -> int:
        """The number of the next job."""
        return int(self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM jobs").fetchone()[0])

    def job(self, account: str, job_id: str) -> Job | None:
        """A job of an account by its id; None if there is none or it was deleted."""
        return self._one("account = ? AND id = ? AND NOT deleted", account, job_id)

    def job_of_media(self, media: str) -> Job | None:
        """The job that a file belongs to."""
        return self._one("media = ? AND NOT deleted", media)

    def jobs(
        self,
        account: str | None = None,
        *,
        after: float = -math.inf,
        before: float = math.inf,
        deleted: bool = False,
    ) -> list[Job]:
        """Jobs accepted in a window of time, both ends included, newest first; with `deleted` also deleted ones."""
        where = "(? IS NULL OR account = ?) AND received_at >= ? AND received_at <= ? AND (? OR NOT deleted)"
        return self._many(f"{where} ORDER BY number DESC", account, account, after, before, deleted)

    def unreported(self) -> list[Job]:
        """Jobs whose webhook is not called yet, the next to end first."""
        return self._many("webhook IS NOT NULL AND NOT reported ORDER BY ends_at")

    def mark_reported(self, job: Job) -> None:
        """Record that a job's webhook was called or given up."""
        self._db.execute("UPDATE jobs SET reported = 1 WHERE id = ?", (job.id,))

    def count(self, job: Job, column: str) -> None:
        """Add one to a job's `polls` or `fetches`."""
        self._db.execute(f"UPDATE jobs SET {column} = {column} + 1 WHERE number = ?", (job.number,))  # noqa: S608 - own names

    def delete(self, account: str, ids: Iterable[str]) -> int:
        """Hide jobs from the API; returns their number."""
        return sum(
            self._db.execute(
                "UPDATE jobs SET deleted = 1 WHERE account = ? AND id = ? AND NOT deleted",
                (account, job_id),
            ).rowcount
            for job_id in ids
        )

    def end_by(self, moment: float) -> None:
        """Let every job that would end later end at this moment."""
        self._db.execute("UPDATE jobs SET ends_at = ? WHERE ends_at > ?", (moment, moment))

    def accepted_since(self, account: str, moment: float) -> int:
        """The number of jobs that an account ordered after a moment."""
        query = "SELECT count(*) FROM jobs WHERE account = ? AND received_at > ?"
        return int(self._db.execute(query, (account, moment)).fetchone()[0])

    def free_at(self, account: str, slots: int | None, now: float) -> float:
        """When the next job gets a slot: now, or when the job that many places before it ends."""
        if slots is None:
            return now
        # jobs take the slot that is free first, so the last `slots` ends are the times at which slots become free
        query = "SELECT ends_at FROM jobs WHERE account = ? AND ends_at > ? ORDER BY ends_at DESC LIMIT 1 OFFSET ?"
        row = self._db.execute(query, (account, now, slots - 1)).fetchone()
        return float(row[0]) if row else now

    def ordered_micros(self, account: str) -> int:
        """Prices of all jobs that an account has ordered."""
        return self._sum("account = ?", account)

    def completed_micros(self, account: str, now: float) -> int:
        """Prices of the jobs that have succeeded."""
        return self._sum("account = ? AND ends_at <= ? AND NOT fails", account, now)

    def failed_micros(self, account: str, moment: float) -> int:
        """Prices of the jobs that had failed by a moment."""
        return self._sum("account = ? AND ends_at <= ? AND fails", account, moment)

    def note(self, visit: Visit) -> None:
        """Store a request."""
        self._insert("visits", asdict(visit))

    def visits(self) -> list[Visit]:
        """Every request, in order."""
        rows = self._db.execute(f"SELECT {_VISIT_COLUMNS} FROM visits ORDER BY rowid")  # noqa: S608 - own names
        return [Visit(**dict(row)) for row in rows]

    def visit_counts(self) -> dict[str, dict[str, int]]:
        """The number of requests, by provider and operation."""
        counts: dict[str, dict[str, int]] = {}
        for provider, operation, count in self._db.execute(
            "SELECT provider, operation, count(*) FROM visits GROUP BY provider, operation"
        ):
            counts.setdefault(provider, {})[operation] = count
        return counts

    def tallies(self) -> dict[str, Tally]:
        """The counts of all rules, by their keys."""
        return {
            row["rule"]: Tally(row["seen"], row["fired"]) for row in self._db.execute("SELECT * FROM tallies")
        }

    def keep_tally(self, rule: str, tally: Tally) -> None:
        """Store a rule's counts."""
        self._db.execute("INSERT OR REPLACE INTO tallies VALUES (?, ?, ?)", (rule, tally.seen, tally.fired))

    def forget_tallies(self) -> None:
        """Reset all counts."""
        self._db.execute("DELETE FROM tallies")

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - own names
        self._db.execute(query, list(row.values()))

    def _sum(self, where: str, *values: Any) -> int:
        query = f"SELECT coalesce(sum(price_micros), 0) FROM jobs WHERE {where}"  # noqa: S608 - own text
        return int(self._db.execute(query, values).fetchone()[0])

    def _one(self, where: str, *values: Any) -> Job | None:
        return next(iter(self._many(f"{where} LIMIT 1", *values)), None)

    def _many(self, where: str, *values: Any) -> list[Job]:
        rows = self._db.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE {where}", values)  # noqa: S608 - own text
        return [_job(dict(row)) for row in rows]


def _job(row: dict[str, Any]) -> Job:
    return Job(
        **{
            **row,
            "body": json.loads(row["body"]),
            "params": json.loads(row["params"]),
            "fate": _fate(row["fate"]),
        }
    )


# cached, because most jobs have the same faults
@functools.lru_cache(256)
def _fate(text: str) -> Fate:
    fate = json.loads(text)
    fate["size"] = tuple(fate["size"]) if fate["size"] else None
    fate["faults"] = tuple(fate["faults"])
    return Fate(**fate)
