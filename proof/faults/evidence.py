"""The evidence at the end of a storm: the providers' books, the ledger's rows and the bucket's files."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from proof.jobs import JobRecord
from proof.laws import Row, Violation
from proof.stand_in.books import StandInBooks
from proof.verdicts import GivenVerdicts


@dataclass
class Findings:
    """All evidence of a storm."""

    books: StandInBooks
    clips: set[str]
    """Every ordered clip."""
    attempts: dict[str, Row]
    """Rows of the ledger by id, JSON columns parsed; likewise below."""
    submissions: dict[str, Row]
    booked: list[Row]
    journal: list[Row]
    lags: dict[str, list[float]]
    """When the ledger saw each lag of a list, by account."""
    bucket: Path
    """Folder of the bucket's files."""
    skews: dict[int, float] = field(default_factory=dict)
    """The clock errors of some processes, by process id."""
    now: float = 0.0
    """The proof's clock at the time of reading."""
    settle: dict[str, float] = field(
        default_factory=lambda: {"wavespeed": 120.0, "aimlapi": 600.0, "fal": 6_000.0, "replicate": 120.0}
    )
    """By provider, the seconds after which a miss counts."""
    max_seconds: float = math.inf
    """The longest time of the endpoints' jobs by the catalogue, in seconds."""
    dedicated: bool = True
    """Whether the keys are declared as dedicated."""

    @property
    def answered(self) -> set[str]:
        """Jobs whose id came with the answer to their POST."""
        return {row["job_id"] for row in self.booked if row["source"] == "answer"}

    @property
    def ever_unknown(self) -> set[str]:
        """Attempts that were unknown at some time."""
        return {entry["attempt_id"] for entry in self.journal if entry["to_state"] == "unknown"}

    @property
    def held_at(self) -> dict[str, float]:
        """When each attempt was held."""
        return {entry["attempt_id"]: entry["at"] for entry in self.journal if entry["to_state"] == "held"}


def gather(
    books: StandInBooks,
    ledger_url: str,
    bucket: Path,
    *,
    clips: set[str],
    skews: dict[int, float],
    now: float,
) -> Findings:
    """Read all evidence; the ledger as plain tables."""
    engine = sa.create_engine(ledger_url)
    try:
        with engine.connect() as connection:
            lags: dict[str, list[float]] = {}
            for row in _rows(connection, "lags"):
                if row["seconds"] is not None:
                    lags.setdefault(row["account"], []).append(row["seen_at"])
            return Findings(
                books,
                clips,
                {row["id"]: row for row in _rows(connection, "attempts")},
                {row["id"]: row for row in _rows(connection, "submissions")},
                _rows(connection, "jobs"),
                sorted(_rows(connection, "journal"), key=lambda row: int(row["seq"])),
                lags,
                bucket,
                skews,
                now,
            )
    finally:
        engine.dispose()


def gather_words(ledger_url: str, bucket: Path, said: Path) -> GivenVerdicts:
    """The verdicts of people on drafts, and those in ledger and bucket.

    Args:
        bucket: Folder of the bucket's files.
        said: The file in which the people's processes recorded them.
    """
    lines = [json.loads(line) for line in said.read_text().splitlines()] if said.exists() else []
    given = [line for line in lines if "given" in line]
    engine = sa.create_engine(ledger_url)
    try:
        with engine.connect() as connection:
            return GivenVerdicts(
                given={line["given"]: line["take"] for line in given},
                answered={line["answered"] for line in lines if "answered" in line},
                verdicts=_rows(connection, "verdicts"),
                standing=_rows(connection, "take_verdicts"),
                objects={
                    str(file.relative_to(bucket)): file.read_bytes()
                    for file in (bucket / "verdicts").rglob("*.json")
                },
                priced={line["take"]: line["clip"] for line in given if line["is_circle"]},
                finishes=[row for row in _rows(connection, "attempts") if row["finishes"] is not None],
                waiting=_rows(connection, "waiting_finishes"),
            )
    finally:
        engine.dispose()


def flaw_of(
    bucket: Path, sha256_of: Callable[[JobRecord], str]
) -> Callable[[JobRecord, Row], Violation | None]:
    """The fault of a delivered job's file, which must be in the bucket as the provider serves it."""

    def flaw(job: JobRecord, attempt: Row) -> Violation | None:
        delivery, clip = attempt["delivery"], attempt["subject_key"].partition("~")[0]
        # a short delivery has only the beginning of an address that ends with the clip and the attempt
        uri = delivery.get("uri") or f"{delivery['folder']}/{clip}/{attempt['id']}.mp4"
        file = bucket / uri.removeprefix("s3://").partition("/")[2]
        if not file.is_file():
            return Violation("lost", f"{job.id} of {job.clip} is delivered and not in the bucket")
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256_of(job):
            return Violation("wrong", f"the file of {job.id} is not in the bucket as it was served")
        return None

    return flaw


def _rows(connection: sa.Connection, table: str) -> list[dict[str, Any]]:
    rows = [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
    for row in rows:
        for name in ("delivery", "request", "candidates"):
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
    return rows
