"""The jobs of `bench.flight`: what is bought, how long it takes, and thousands of jobs under way in ledger and sandbox."""

import datetime as dt
import json
import random
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from resources.ledger import counters, schema
from resources.ledger.ledger import Ledger
from resources.ledger.lost import listing_trust
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import ordered
from resources.orders import ClipRequest, Expected
from resources.production.poll_times import next_poll_in
from resources.production.poller import FIRST_POLL_SECONDS
from resources.sandbox.books import Books, Job

ACCOUNT = "aimlapi"
BATCH = 100
SPREAD = 0.3
LENGTHS = 9
"""How many different times the jobs of an endpoint have."""


@dataclass(frozen=True)
class Sold:
    """An endpoint."""

    endpoint: str
    price_micros: int
    job_seconds: float

    def seconds(self, number: int) -> float:
        """How long the job of the nth clip takes."""
        return self.job_seconds * (1 - SPREAD + 2 * SPREAD * (number // 2 % LENGTHS) / (LENGTHS - 1))


SOLD = (
    Sold("bytedance/seedance-2-0", 1_200_000, 141),
    Sold("klingai/video-v3-standard-text-to-video", 560_000, 600),
)


def sold_as(number: int) -> Sold:
    """What the nth clip is bought from."""
    return SOLD[number % len(SOLD)]


def key_of(number: int) -> str:
    """The nth clip."""
    return f"flight-{number:06}"


def request_of(number: int) -> ClipRequest:
    """The order of the nth clip; its prompt says how long its job takes."""
    sold = sold_as(number)
    return ClipRequest(
        clip=key_of(number),
        series="flight",
        provider=ACCOUNT,
        endpoint=sold.endpoint,
        body={"prompt": f"Length {number // 2 % LENGTHS}. A quiet harbor, boat {number}.", "duration": 5},
        price_micros=sold.price_micros,
        expected=Expected(duration=5.0),
        usual_seconds=sold.job_seconds,
    )


def fault_script() -> dict[str, Any]:
    """The times of the jobs, for the sandbox."""
    return {
        "faults": [
            {
                "name": f"{sold.endpoint} {length}",
                "when": {"endpoint": sold.endpoint, "prompt_contains": f"Length {length}."},
                "then": {"do": "take", "seconds": sold.seconds(2 * length)},
            }
            for sold in SOLD
            for length in range(LENGTHS)
        ]
    }


def write_jobs(ledger: Ledger, books: Path, in_flight: int) -> int:
    """Write jobs under way into ledger and sandbox, as if places had long been refilled; returns the number of clips written."""
    rng, now, number = random.Random(13), ledger.clock(), 0
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    jobs: list[Job] = []
    longest = max(sold.seconds(2 * LENGTHS - 2) for sold in SOLD)
    while len(jobs) < in_flight:
        # bought at any moment of the last minutes; those whose job would be over by now are no longer there
        age, number = rng.uniform(0, longest), number + 1
        if age < sold_as(number).seconds(number):
            jobs.append(_under_way(rows, rng, number, now - age, now))
    for past in range(1, 2 * 20 + 1):
        _ended(rows, number + past, now)
    with ledger.write() as connection:
        for sql_table in schema.metadata.sorted_tables:
            if sql_table in rows:
                connection.execute(sa.insert(sql_table), rows[sql_table])
        # bill and listing were just read: the sandbox, which is no provider, needs a second for a page of so many rows
        connection.execute(sa.insert(schema.accounts).values(account=ACCOUNT, billed_at=now))
        swept = {"tried_at": now, "swept_to": now - 900, "billed_to": now - 900, "earliest": now - 7200}
        connection.execute(sa.insert(schema.meta).values(key=f"sweep {ACCOUNT}", value=json.dumps(swept)))
        lags = [
            {"account": ACCOUNT, "job_id": f"listed-{n}", "seconds": 2.0, "seen_at": now - 3600}
            for n in range(listing_trust.ENOUGH)
        ]
        connection.execute(sa.insert(schema.lags), lags)
        for scope, micros in counters.recounted(connection).items():
            values = {**scope._asdict(), "spent_micros": micros, "cap_micros": None}
            connection.execute(sa.insert(schema.spending).values(values))
    Books(books).close()
    with sqlite3.connect(books) as file:
        stored = [{**asdict(job), "fails": False} for job in jobs]
        for row in stored:
            row |= {name: json.dumps(row[name]) for name in ("body", "params", "fate")}
        names = list(stored[0])
        insert = f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        file.executemany(insert, [list(row.values()) for row in stored])
    file.close()
    return number + 2 * 20


def _attempt(number: int, submitted_at: float) -> dict[str, Any]:
    return {
        **ordered(request_of(number)),
        "id": f"{number:016x}",
        "decision": f"schedule:flight:{number // BATCH}",
        "batch": f"run-{number // BATCH}",
        "version": 3,
        "quoted_micros": sold_as(number).price_micros,
        "counted_on": dt.datetime.fromtimestamp(submitted_at, dt.UTC).date().isoformat(),
        "created_at": submitted_at - 2,
        "submitted_at": submitted_at,
        "overdue_at": submitted_at + 3600,
        "job_id": f"{number:032x}",
    }


def _under_way(
    rows: dict[sa.Table, list[dict[str, Any]]], rng: random.Random, number: int, at: float, now: float
) -> Job:
    sold, job_id, post = sold_as(number), f"{number:032x}", f"{number:032x}"
    wait = next_poll_in(elapsed=now - at, usual=sold.job_seconds, overdue=False, rng=rng)
    due = now + (wait if wait > 15 else rng.uniform(0, wait))
    attempt = {
        **_attempt(number, at),
        "state": AttemptState.SUBMITTED.value,
        "money_state": MoneyState.RESERVED.value,
        "next_poll_at": max(min(due, at + FIRST_POLL_SECONDS), now) if at + FIRST_POLL_SECONDS > now else due,
        "polls": int(at + FIRST_POLL_SECONDS < now),
    }
    rows.setdefault(schema.attempts, []).append(attempt)
    submission = {
        "id": post,
        "attempt_id": attempt["id"],
        "account": ACCOUNT,
        "state": SubmissionState.ACCEPTED.value,
        "owner": "bench",
        "started_at": at - 0.5,
        "lease_until": at + 60,
        "ended_at": at,
        "detail": job_id,
    }
    rows.setdefault(schema.submissions, []).append(submission)
    seen = {"account": ACCOUNT, "job_id": job_id, "attempt_id": attempt["id"], "submission_id": post}
    rows.setdefault(schema.jobs, []).append({**seen, "source": "answer", "seen_at": at})
    request = request_of(number)
    return Job(
        number=number,
        id=job_id,
        provider=ACCOUNT,
        account=ACCOUNT,
        endpoint=sold.endpoint,
        model=sold.endpoint,
        media=f"{number:032x}",
        body=request.body,
        params=request.body,
        submission_id=post,
        base_url="http://127.0.0.1",
        webhook=None,
        received_at=at,
        starts_at=at,
        ends_at=at + sold.seconds(number),
        price_micros=sold.price_micros,
    )


def _ended(rows: dict[sa.Table, list[dict[str, Any]]], number: int, now: float) -> None:
    """A clip of an hour ago: the usual times of its endpoint are those of such clips."""
    at = now - 7200
    rows[schema.attempts].append(
        {
            **_attempt(number, at),
            "state": AttemptState.DELIVERED.value,
            "money_state": MoneyState.CONFIRMED.value,
            "charged_micros": sold_as(number).price_micros,
            "charge_source": "bill",
            "finished_at": at + sold_as(number).seconds(number) + 8,
            "delivered_at": at + 900,
            "reported_run_id": "run-before",
            "reported_at": at + 900,
            "next_poll_at": None,
            "polls": 3,
        }
    )
