"""A ledger with a history of years: purchases in plausible states, written into the product's own tables in bulk.

    python -m bench.history --purchases 100000 --ledger sqlite:////tmp/years/ledger.db

The same number of purchases always gives the same ledger. It has all rows that the product's transactions would write: for each
purchase its journal, POST, job, counters, current take, and what its decision is about.
"""

import argparse
import base64
import datetime as dt
import json
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from bench.sold_series import SERIES, SoldSeries, a_request, body_of
from resources.ledger import counters, schema
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import ATTEMPT_ID_LENGTH
from resources.ledger.states import OPEN, AttemptState, MoneyState, SubmissionState
from resources.ledger.stored_forms import StoredTake, short_delivery
from resources.ledger.transaction import ordered, stored_row
from resources.orders import fingerprint
from resources.providers.base import FailureKind
from resources.video.credentials import ABSENT

BATCH = 2_000
"""Number of purchases in one transaction."""
DAY = 86_400.0
BOUGHT_AT = 6 * 3600.0
"""Times at which the schedules tick, in seconds after midnight (UTC)."""
OUTPUT_DAYS = 7


_S, _M = AttemptState, MoneyState
_TO_JOB = [(_S.QUEUED, _M.RESERVED), (_S.SUBMITTING, _M.RESERVED), (_S.SUBMITTED, _M.RESERVED)]
_TO_OUTPUT = [*_TO_JOB, (_S.SUCCEEDED, _M.CONFIRMED)]
_TO_DOUBT = [*_TO_JOB[:2], (_S.UNKNOWN, _M.INDETERMINATE)]
Path = list[tuple[AttemptState, MoneyState]]

_DELIVERED: Path = [*_TO_OUTPUT, (_S.DELIVERED, _M.CONFIRMED), (_S.DELIVERED, _M.CONFIRMED)]
ENDED: dict[str, tuple[float, Path]] = {
    "delivered": (900, _DELIVERED),
    "reconciled": (5, [*_TO_DOUBT, *_TO_OUTPUT[2:], (_S.DELIVERED, _M.CONFIRMED)]),
    "failed": (50, [*_TO_JOB, (_S.FAILED, _M.REFUND_EXPECTED), (_S.FAILED, _M.REFUNDED)]),
    "rejected": (15, [*_TO_JOB[:2], (_S.REJECTED, _M.RELEASED)]),
    "quarantined": (10, [*_TO_OUTPUT, (_S.QUARANTINED, _M.CONFIRMED), (_S.QUARANTINED, _M.CONFIRMED)]),
    "withdrawn": (8, [_TO_JOB[0], (_S.WITHDRAWN, _M.RELEASED)]),
    "absent": (4, [*_TO_DOUBT, (_S.ABSENT, _M.RELEASED)]),
    "vanished": (3, [*_TO_JOB, (_S.VANISHED, _M.INDETERMINATE)]),
    "lost": (3, [*_TO_OUTPUT, (_S.LOST, _M.CONFIRMED), (_S.LOST, _M.CONFIRMED)]),
    "abandoned": (2, [*_TO_JOB, (_S.OVERDUE, _M.RESERVED), (_S.ABANDONED, _M.INDETERMINATE)]),
}
"""For each end: its share in thousandths of all ended purchases, and the states of its journal."""
BOUGHT_AGAIN = {_S.FAILED, _S.REJECTED, _S.ABSENT, _S.WITHDRAWN, _S.VANISHED}
BOUGHT_PER_CLIP = 1.09
"""Purchases of a clip on average; after some ends a clip is bought again."""
VIDEO = json.loads("""{
    "width": 1280, "height": 720, "duration": 5.041667, "fps": 24.0, "video_codec": "h264", "audio_codec": "aac", "has_audio": true,
    "truncated": false, "faststart": true, "c2pa": false, "trailing_bytes": 0, "speeds": false, "pixel_aspect": 1.0, "rotation": 0,
    "picture": {"start": 0.0, "end": 5.041667, "gap": null, "missing_seconds": 0.0},
    "sound": {"start": 0.0, "end": 5.041667, "gap": null, "missing_seconds": 0.0}
}""")
CHECKS = json.loads("""{
    "whole": "passed", "size": "passed", "duration": "passed", "frame_rate": "passed", "codecs": "passed", "audio": "passed",
    "coverage": "passed", "black": "passed", "frozen": "passed", "silence": "passed", "model": "passed", "nsfw": "passed",
    "credentials": "skipped", "duplicate": "passed"
}""")
_DELIVERY = short_delivery(
    {
        "key": "videos/clip/take.mp4",
        "uri": "s3://dailies/videos/clip/take.mp4",
        "manifest_uri": "s3://dailies/videos/clip/take.json",
        "poster_uri": "s3://dailies/videos/clip/take.webp",
        "strip_uri": "s3://dailies/videos/clip/take.strip.webp",
        "size": 1,
        "sha256": "00",
        "video": {**VIDEO, "size_bytes": 1},
        "look": "00",
        "credentials": ABSENT.model_dump(mode="json"),
        "checks": CHECKS,
        "accepted": None,
        "warnings": [],
    },
    StoredTake("clip", "take"),
)
"""The short form of the facts that `resources.production.manifests.delivery_of` has of a take."""
UNDER_WAY: tuple[tuple[int, Path], ...] = (
    (30, _TO_JOB[:1]),
    (1, _TO_JOB[:2]),
    (1, _TO_DOUBT),
    (2, [*_TO_DOUBT, (_S.HELD, _M.INDETERMINATE)]),
    (20, _TO_JOB),
    (1, [*_TO_JOB, (_S.OVERDUE, _M.RESERVED)]),
    (5, _TO_OUTPUT),
)
"""Open purchases as number and path of states; 60 together."""
SUBMISSION_ENDS = {
    _S.SUBMITTING: SubmissionState.OPEN,
    _S.UNKNOWN: SubmissionState.UNKNOWN,
    _S.HELD: SubmissionState.UNKNOWN,
    _S.REJECTED: SubmissionState.REJECTED,
    _S.ABSENT: SubmissionState.ABSENT,
}


@dataclass(frozen=True)
class WrittenHistory:
    """Summary of the written history."""

    purchases: int
    clips: list[str]
    """Keys of all clips, oldest first."""
    delivered: list[str]
    """Keys of the clips with a current take."""
    under_way: list[str]
    """Keys of the clips with an open purchase."""
    runs: list[str]
    """Ids of the runs that bought, oldest first."""


@dataclass
class _Rows:
    """Rows that are written together, by table."""

    by_table: dict[sa.Table, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: sa.Table, **values: Any) -> None:
        self.by_table.setdefault(table, []).append(values)

    def write(self, ledger: Ledger) -> None:
        with ledger.write() as connection:
            for table in schema.metadata.sorted_tables:
                if rows := self.by_table.pop(table, []):
                    connection.execute(sa.insert(table), rows)


def write_history(
    ledger: Ledger, purchases: int, *, now: float, clips_a_day: int = 100, under_way: bool = True
) -> WrittenHistory:
    """Write a history into an empty ledger.

    Args:
        purchases: Number of attempts, open ones included.
        now: End of the history, in seconds since the epoch.
        clips_a_day: Clips that the schedules buy each day; this sets how far the history goes back.
        under_way: Whether the last 60 purchases are the open ones of `UNDER_WAY`; otherwise none is open.
    """
    writer = _Writer(ledger, now)
    ended = purchases - (sum(number for number, _ in UNDER_WAY) if under_way else 0)
    days = round(ended / (clips_a_day * BOUGHT_PER_CLIP)) or 1
    for ago in range(days, 0, -1):
        left = ended - writer.written
        writer.write_day(now - ago * DAY, clips_a_day if ago > 1 else left, left)
    if under_way:
        writer.write_under_way()
    return writer.finish()


def _worker(run: str) -> str:
    return f"worker-{run[:8]}:4711:{run[9:13]}{run[14:18]}"


class _Writer:
    """Writes purchases one after the other, each with all its rows."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self._ledger, self._now = ledger, now
        self._random = random.Random(2026)
        self._rows = _Rows()
        self._clips: dict[str, None] = {}
        self._delivered: list[str] = []
        self._orders = {
            series.name: stored_row(ordered(a_request(series, series.name, 1))) for series in SERIES
        }
        self._under_way: list[str] = []
        self._runs: list[str] = []
        self._actors: dict[str | None, int] = {}
        self._collecting: dict[str, str] = {}
        self._weights = [weight for weight, _ in ENDED.values()]
        self._paths = [path for _, path in ENDED.values()]
        self._first = now
        self.written = 0

    def write_day(self, at: float, clips: int, most: int) -> None:
        """Write the clips that the schedules bought on one day, up to a number of purchases."""
        until = self.written + most
        date, morning = dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat(), at // DAY * DAY + BOUGHT_AT
        runs = {series.name: self._run_id() for series in SERIES}
        self._runs += runs.values()
        for number in range(clips):
            if self.written >= until:
                return
            series = SERIES[number % len(SERIES)]
            key = f"{series.name}-{date}-{number // len(SERIES):03}"
            decision, run = f"schedule:{series.name}:{date}T06:00+00:00", runs[series.name]
            ordered_as = self._order(series, key, self.written + 1)["fingerprint"]
            self._rows.add(
                schema.decision_clips, decision=decision, clip=key, order_fingerprint=ordered_as, takes=1
            )
            for _ in range(3):
                if self.written >= until:
                    return
                (path,) = self._random.choices(self._paths, self._weights)
                last = self._purchase(
                    series, key, decision, run, morning + number + self._random.random(), path
                )
                if last not in BOUGHT_AGAIN:
                    break

    def write_under_way(self) -> None:
        """Write the open purchases, which were bought in the last minutes of the history."""
        run, number = self._run_id(), 0
        self._runs.append(run)
        for count, path in UNDER_WAY:
            for _ in range(count):
                series = SERIES[number % len(SERIES)]
                key = f"{series.name}-now-{number:03}"
                self._rows.add(
                    schema.decision_clips, decision=run, clip=key, order_fingerprint=None, takes=None
                )
                self._purchase(series, key, run, run, self._now - 45 + number / 10, path)
                self._under_way.append(key)
                number += 1

    def finish(self) -> WrittenHistory:
        """Write the rows of the whole ledger: counters and accounts; returns the summary."""
        self._rows.write(self._ledger)
        with self._ledger.read() as connection:
            counted = counters.recounted(connection)
        for scope, micros in counted.items():
            self._rows.add(schema.spending, **scope._asdict(), spent_micros=micros, cap_micros=None)
        for account in sorted({series.account for series in SERIES}):
            self._rows.add(schema.accounts, account=account, billed_at=self._now - 60)
            self._rows.add(schema.listings, account=account, read_at=self._now - 60)
            to = self._now - 960
            swept = {"tried_at": self._now - 60, "swept_to": to, "billed_to": to, "earliest": self._first}
            self._rows.add(schema.meta, key=f"sweep {account}", value=json.dumps(swept))
        self._rows.write(self._ledger)
        with self._ledger.write() as connection:
            if connection.dialect.name == "postgresql":
                # Autovacuum does this within minutes on a real server. SQLite has nothing that does it, so the history has no statistics there.
                connection.exec_driver_sql("ANALYZE")
        return WrittenHistory(self.written, list(self._clips), self._delivered, self._under_way, self._runs)

    def _purchase(
        self, series: SoldSeries, key: str, decision: str, run: str, at: float, path: Path
    ) -> AttemptState:
        """Write one purchase with its journal, POST and job; returns its state."""
        self.written += 1
        self._first = min(self._first, at)
        self._clips[key] = None
        (state, money), states = path[-1], {state for state, _ in path}
        took = series.job_seconds * self._random.uniform(0.7, 1.6)
        job = self._id(32) if {_S.SUBMITTED, _S.OVERDUE} & states else None
        ended_at = None if state in OPEN - {_S.SUCCEEDED} else at + 2 + took
        billed = state is path[-2][0] if len(path) > 1 else False
        attempt = {
            **self._order(series, key, self.written),
            "id": self._id(ATTEMPT_ID_LENGTH),
            "decision": decision,
            "batch": run,
            "watched_by": None,
            "reported_run_id": None if state in OPEN else self._collecting_run(run),
            "reported_at": None if state in OPEN else (ended_at or at) + 30,
            "state": state.value,
            "version": len(path),
            "reason_kind": FailureKind.PROVIDER.value if state is _S.FAILED else None,
            "reason": None if state in {_S.DELIVERED, *OPEN} else f"the provider says that it {state}",
            "money_state": money.value,
            "quoted_micros": series.price_micros,
            "charged_micros": series.price_micros if _S.SUCCEEDED in states or billed else None,
            "charge_source": "bill" if billed else "answer" if _S.SUCCEEDED in states else None,
            "counted_on": dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat(),
            "created_at": at,
            "submitted_at": None if job is None else at + 2,
            "finished_at": ended_at,
            "delivered_at": None,
            "next_poll_at": self._now + 60 if state in {_S.SUBMITTED, _S.OVERDUE} else None,
            "polls": 3 if job else 0,
            "overdue_at": None if state in {_S.QUEUED, _S.WITHDRAWN} else at + 1800,
            "copy_deadline": None if ended_at is None or job is None else ended_at + OUTPUT_DAYS * DAY,
            "job_id": job,
            "served_model": series.endpoint if job else None,
            "outputs": [f"https://d1q70pf5vjeyhc.cloudfront.net/predictions/{job}/1.mp4"]
            if _S.SUCCEEDED in states
            else None,
            "inference_seconds": took if _S.SUCCEEDED in states else None,
            "delivery": None,
            "late_at": self._now + 3600
            if state in {_S.FAILED, _S.VANISHED, _S.LOST} and self._now - at < OUTPUT_DAYS * DAY
            else None,
        }
        if state in {_S.DELIVERED, _S.QUARANTINED}:
            attempt |= {"delivery": self._delivery(), "delivered_at": at + took + 12}
        if state is _S.QUARANTINED:
            for name, value in (("nsfw", "no"), ("look", attempt["delivery"]["look"])):
                self._rows.add(schema.notes, attempt_id=attempt["id"], name=name, value=value)
        if state is _S.DELIVERED:
            self._delivered.append(key)
            take = {"attempt_id": attempt["id"], "since": attempt["delivered_at"]}
            self._rows.add(schema.current_takes, subject_kind="clip", subject_key=key, **take)
        self._rows.add(schema.attempts, **attempt)
        post = self._id(32)
        self._post(attempt, post, states, run)
        self._journal(attempt, post, path, run)
        if self.written % BATCH == 0:
            self._rows.write(self._ledger)
        return state

    def _order(self, series: SoldSeries, key: str, number: int) -> dict[str, Any]:
        """The columns of the nth order, from those of another order of its series: to make each request takes half of the time."""
        known, body = self._orders[series.name], body_of(series, number)
        return {
            **known,
            "subject_key": key,
            "fingerprint": fingerprint(series.account, series.endpoint, body),
            "request": {**known["request"], "body": body},
        }

    def _post(self, attempt: dict[str, Any], post: str, states: set[AttemptState], run: str) -> None:
        """Write the POST of a purchase, and its job."""
        if _S.SUBMITTING not in states:
            return
        at, job = attempt["created_at"] + 1, attempt["job_id"]
        state = SUBMISSION_ENDS.get(AttemptState(attempt["state"]), SubmissionState.ACCEPTED)
        self._rows.add(
            schema.submissions,
            id=post,
            attempt_id=attempt["id"],
            account=attempt["account"],
            state=state.value,
            owner=_worker(run),
            started_at=at,
            lease_until=at + 60,
            ended_at=None if state is SubmissionState.OPEN else at + 1,
            detail=job or f"the answer was {state}",
            clock_low=-self._random.random(),
            clock_high=self._random.random(),
        )
        if job is not None:
            known = {"account": attempt["account"], "job_id": job}
            self._rows.add(
                schema.jobs,
                **known,
                attempt_id=attempt["id"],
                submission_id=post,
                source="answer",
                seen_at=at + 1,
            )
            if self._random.random() < 0.3:
                self._rows.add(schema.lags, **known, seconds=self._random.uniform(0.5, 4), seen_at=at + 6)

    def _journal(self, attempt: dict[str, Any], post: str, path: Path, run: str) -> None:
        before = None
        whys = {
            _S.QUEUED: f"decision {attempt['decision']}",
            _S.SUBMITTING: f"submission {post}",
            _S.SUBMITTED: f"job {attempt['job_id']}",
            _S.SUCCEEDED: "completed after 73 s",
            _S.DELIVERED: "in the bucket",
        }
        for version, (state, money) in enumerate(path, start=1):
            is_new = state.value != before
            why = whys.get(state, attempt["reason"]) if is_new else "the bill: $0.40 charged, $0.00 refunded"
            runs = {_S.SUCCEEDED: None, _S.DELIVERED: attempt["reported_run_id"]}
            self._rows.add(
                schema.journal,
                attempt_id=attempt["id"],
                version=version,
                from_state=before,
                to_state=state.value,
                money_state=money.value,
                at=attempt["created_at"] + 10 * version,
                who="",
                actor=self._actor(runs.get(state, run) if is_new else None),
                why=why,
            )
            before = state.value

    def _collecting_run(self, run: str) -> str:
        """The run that collects what another one bought: one for each batch."""
        if run not in self._collecting:
            self._collecting[run] = self._run_id()
        return self._collecting[run]

    def _actor(self, run: str | None) -> int:
        """The number of a run's worker; of the process with the sensors for None."""
        if run not in self._actors:
            self._actors[run] = len(self._actors) + 1
            who = "engine sensors-4f1c2d3e:812:9a8b7c6d" if run is None else f"engine {_worker(run)}"
            self._rows.add(schema.actors, id=self._actors[run], who=who, run_id=run or "")
        return self._actors[run]

    def _delivery(self) -> dict[str, Any]:
        """The facts of a manifest, in the form that the ledger stores."""
        return {
            **_DELIVERY,
            "size": self._random.randint(2_000_000, 9_000_000),
            "sha256": self._digest(32),
            "look": self._digest(84),
        }

    def _digest(self, octets: int) -> str:
        return "=" + base64.b64encode(self._random.randbytes(octets)).decode()

    def _id(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def _run_id(self) -> str:
        return str(uuid.UUID(self._id(32)))


def main() -> None:
    """Write a history into a new ledger."""
    parser = argparse.ArgumentParser(description="Write a history into a new ledger.")
    parser.add_argument("--purchases", type=int, default=100_000)
    parser.add_argument("--ledger", required=True, help="sqlite:////path/to/ledger.db or postgresql://...")
    arguments = parser.parse_args()
    with Ledger(arguments.ledger, budget=Budget()) as ledger:
        written = write_history(ledger, arguments.purchases, now=ledger.clock())
    print(f"{written.purchases} purchases of {len(written.clips)} clips")


if __name__ == "__main__":
    main()
