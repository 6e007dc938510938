"""What there is to judge at the end: the providers' books, the ledger's rows and the bucket's files, read as they are."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from proof.stand_in.books import Books

Row = dict[str, Any]


@dataclass
class Evidence:
    """Everything there is.

    Attributes:
        books: The providers'.
        clips: Every clip that was asked for.
        attempts: Rows of the ledger, by id; JSON columns parsed.
        submissions: Rows, by id.
        owners: Ledger's `jobs` rows: attempt by (account, job), None where nobody's.
        answered: Jobs whose id came with the answer to their POST.
        lags: When the ledger saw each lag of a list, by account.
        held_at: When each attempt was held.
        ever_unknown: Attempts that were unknown at some time.
        bucket: Folder of the bucket's files.
        skews: By how much the clocks of some processes were wrong, by process id.
        now: The proof's clock when it was read.
        settle: By provider, after how many seconds a miss is believed.
    """

    books: Books
    clips: set[str]
    attempts: dict[str, Row]
    submissions: dict[str, Row]
    owners: dict[tuple[str, str], str | None]
    answered: set[str]
    lags: dict[str, list[float]]
    held_at: dict[str, float]
    ever_unknown: set[str]
    bucket: Path
    skews: dict[int, float] = field(default_factory=dict)
    now: float = 0.0
    settle: dict[str, float] = field(default_factory=lambda: {"wavespeed": 120.0, "aimlapi": 600.0})


def gather(
    books: Books, ledger_url: str, bucket: Path, *, clips: set[str], skews: dict[int, float], now: float
) -> Evidence:
    """Read everything; the ledger as plain tables."""
    engine = sa.create_engine(ledger_url)
    try:
        with engine.connect() as connection:
            attempts = {row["id"]: row for row in _rows(connection, "attempts")}
            submissions = {row["id"]: row for row in _rows(connection, "submissions")}
            jobs = _rows(connection, "jobs")
            journal = _rows(connection, "journal")
            lags: dict[str, list[float]] = {}
            for row in _rows(connection, "lags"):
                if row["seconds"] is None:
                    continue
                lags.setdefault(row["account"], []).append(row["seen_at"])
    finally:
        engine.dispose()
    owners = {(row["account"], row["job_id"]): row["attempt_id"] for row in jobs}
    answered = {row["job_id"] for row in jobs if row["source"] == "answer"}
    unknown = {row["attempt_id"] for row in journal if row["to_state"] == "unknown"}
    held = {row["attempt_id"]: row["at"] for row in journal if row["to_state"] == "held"}
    return Evidence(
        books, clips, attempts, submissions, owners, answered, lags, held, unknown, bucket, skews, now
    )


def _rows(connection: sa.Connection, table: str) -> list[Row]:
    rows = [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
    for row in rows:
        for name in ("delivery", "request", "candidates"):
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
    return rows
