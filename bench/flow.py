"""One round of dailies: a stack of its own, from the request to the last clip's end, in one of two ways."""

import datetime as dt
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from bench.machine import (
    environment,
    ideal_seconds,
    places_variables,
    read_books,
    requests_of,
)
from bench.processes import ending_all_children
from bench.series_files import OFFERS, SERIES, RoundFiles, declare
from bench.usage import Meter, settle, wait_for_workers
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.declared import clips_of, declarations_of
from pipelines.cli.launch import Launch, approve_as_declared, dagster_instance, launch
from pipelines.cli.stack import Stack, StackOptions, free_port
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.settings import Settings, load_settings, open_ledger

JOBS = {"leave": "submit_clips", "wait": "produce_clips"}
"""The job that each way requests; the completion sensor collects a batch whose run has left."""
LOOK_SECONDS = 0.5
DAGSTER = ("code", "webserver", "daemon")


@dataclass(frozen=True)
class RoundScale:
    """Size and faults of a round."""

    clips: int
    """Number of clips."""
    job_seconds: float
    """Seconds that a job takes at the provider."""
    spread: float
    """Largest deviation from that, as a share of it."""
    fail: float
    """Share of the jobs that fail."""
    seed: int
    """Seed of each job's time."""
    post_seconds: float
    """Seconds that the provider takes to answer a POST."""
    places: int | None
    """Jobs that the account may have at once; None for no limit."""
    provider: str
    """The provider, a key of `OFFERS`."""

    @property
    def seconds_in_turn(self) -> float:
        """Seconds that each POST waits for the one before it; 0 if POSTs are sent at once."""
        return 0 if OFFERS[self.provider].takes_posts_at_once else self.post_seconds

    @property
    def patience(self) -> float:
        """Seconds after which a round is given up."""
        rounds = -(-self.clips // (self.places or self.clips))
        return 180 + 2 * rounds * self.job_seconds + (15 + self.post_seconds) * self.clips

    def sandbox_options(self, faults: Path) -> list[str]:
        """Arguments of a sandbox with unlimited slots and enough money for every clip.

        Args:
            faults: The file of the script of faults.
        """
        return [
            *("--job-seconds", str(self.job_seconds), "--post-seconds", str(self.post_seconds)),
            *("--spread", str(self.spread), "--seed", str(self.seed)),
            *("--balance", str(self.clips * 10 + 1000), "--faults", str(faults)),
        ]


@dataclass
class Round:
    """Results of a round. Times are seconds since the request; CPU seconds are per ordered clip."""

    wall_seconds: float
    """Until the last clip was delivered."""
    ideal_seconds: float
    """See `bench.machine.ideal_seconds`."""
    longest_job_seconds: float
    """Time of the longest job."""
    runs: int
    """Number of started runs."""
    requests_per_clip: float
    """Requests to the provider and its CDN."""
    cpu_per_clip: float
    """CPU of Dagster's processes: code server, run workers with checks and posters, daemon, webserver, and the requesting process."""
    sandbox_cpu_per_clip: float
    s3_cpu_per_clip: float
    peak_mb: dict[str, float]
    """Peak memory of the largest run worker, and of its largest child, in megabytes."""
    details: dict[str, Any] = field(default_factory=dict)
    """Facts that explain the figures."""
    problems: list[str] = field(default_factory=list)
    """Ends that were not expected."""


def run_round(way: str, scale: RoundScale) -> Round:
    """Start a stack, order the clips, and wait until every clip has ended and Dagster shows its end.

    Raises:
        resources.errors.DailiesError: The stack does not start, or fails.
        TimeoutError: The clips do not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="dailies-bench-") as place, ending_all_children():
        folder = Path(place)
        declared = declare(folder, provider=scale.provider, clips=scale.clips, fail=scale.fail)
        home = folder / "home"
        variables = {"DAILIES_HOME": str(home), "DAILIES_DATA": str(declared.data)}
        with environment({**variables, **places_variables(scale.places)}):
            settings = load_settings()
            wanted = StackOptions(
                port=free_port(),
                sandbox=True,
                embedded_s3=True,
                sandbox_options=scale.sandbox_options(declared.faults),
            )
            with Stack(settings, wanted) as stack:
                return _measure(stack, settings, declared, way, scale)


def _measure(stack: Stack, settings: Settings, declared: RoundFiles, way: str, scale: RoundScale) -> Round:
    keys = clips_of(declarations_of(settings), SERIES, dt.datetime.now(dt.UTC).date(), ())
    roots = {name: process.pid for name, process in stack.processes.items()}
    # the embedded S3 stores its process id beside its folder
    roots["s3"] = int((stack.home / "s3" / "server.pid").read_text().split()[0])
    with DagsterApi(stack.dagster_url) as api, Meter(roots) as meter:
        idle = settle()
        meter.mark()
        asked_at, asking = time.time(), time.thread_time()
        how = Launch("bench", JOBS[way], series=SERIES)
        launched = launch(settings, api, approve_as_declared(settings, keys), how)
        asking = time.thread_time() - asking
        with open_ledger(settings) as ledger, dagster_instance(settings) as instance:
            attempts = _wait(stack, ledger, instance, scale)
            settled = time.time() - asked_at
            ended = wait_for_workers()
            seconds = meter.seconds()
            runs = instance.get_run_records()
    books = read_books(str(stack.sandbox_url))
    requests = requests_of(books)
    dagster = asking + sum(seconds[name] for name in DAGSTER)
    return Round(
        wall_seconds=round(max((a.delivered_at or 0 for a in attempts), default=0) - asked_at, 1),
        ideal_seconds=round(ideal_seconds(books, scale.places, post_seconds=scale.seconds_in_turn), 1),
        longest_job_seconds=round(ideal_seconds(books, None), 1),
        runs=len(runs),
        requests_per_clip=round(sum(requests.values()) / scale.clips, 2),
        cpu_per_clip=round(dagster / scale.clips, 3),
        sandbox_cpu_per_clip=round(seconds["sandbox"] / scale.clips, 3),
        s3_cpu_per_clip=round(seconds["s3"] / scale.clips, 3),
        peak_mb=meter.peaks,
        details={
            "idle_before": idle,
            "workers_ended": ended,
            "settled_seconds": round(settled, 1),
            "asked_runs": len(launched.runs),
            "requests": requests,
            "cpu_seconds": {name: round(used, 2) for name, used in {"asking": asking, **seconds}.items()},
            "runs": [run_line(record, asked_at) for record in sorted(runs, key=lambda r: r.storage_id)],
            "timeline": _timeline(attempts, books, asked_at),
            "lag": _lag(attempts, books),
        },
        problems=_problems(attempts, declared, scale),
    )


def _wait(stack: Stack, ledger: Ledger, instance: dg.DagsterInstance, scale: RoundScale) -> list[Attempt]:
    """Wait until every clip has ended, Dagster shows each end, and every run is over."""
    give_up = time.monotonic() + scale.patience
    while True:
        attempts = ledger.overview(series=SERIES)
        told = [a for a in attempts if a.state.is_ended and a.reported_run_id is not None]
        if len(told) == scale.clips and all(r.dagster_run.is_finished for r in instance.get_run_records()):
            return attempts
        if time.monotonic() > give_up:
            states = Counter(a.state.value for a in attempts)
            raise TimeoutError(
                f"after {scale.patience:.0f} s only {len(told)} clips were over: {dict(states)}"
            )
        stack.check()
        time.sleep(LOOK_SECONDS)


def _problems(attempts: list[Attempt], declared: RoundFiles, scale: RoundScale) -> list[str]:
    states = Counter(a.state for a in attempts)
    expected = {
        AttemptState.DELIVERED: scale.clips - declared.doomed,
        AttemptState.FAILED: declared.doomed,
    }
    if states == Counter(expected):
        return []
    return [f"clips ended as {dict(states)} instead of {expected}"]


def run_line(record: dg.RunRecord, asked_at: float) -> str:
    """One run in words, with times in seconds since the request."""
    run = record.dagster_run
    created = record.create_timestamp.timestamp() - asked_at
    times = ", ".join(
        f"{word} {moment - asked_at:.1f}"
        for word, moment in (("started", record.start_time), ("ended", record.end_time))
        if moment is not None
    )
    return f"{run.job_name} {run.status.value}: asked for {created:.1f}, {times}"


def _timeline(attempts: list[Attempt], books: dict[str, Any], asked_at: float) -> dict[str, float]:
    """The time of each event, in seconds since the request."""
    moments: dict[str, list[float]] = {
        "submitted": [a.submitted_at for a in attempts if a.submitted_at],
        "job ended": [float(job["ends_at"]) for job in books["jobs"]],
        "end noticed": [a.finished_at for a in attempts if a.finished_at],
        "delivered": [a.delivered_at for a in attempts if a.delivered_at],
    }
    return {
        f"{which} {name}": round(pick(times) - asked_at, 1)
        for name, times in moments.items()
        if times
        for which, pick in (("first", min), ("last", max))
    }


def _lag(attempts: list[Attempt], books: dict[str, Any]) -> dict[str, float]:
    """Seconds from a job's end until it is noticed, and from then to its delivery."""
    ends_at = {job["id"]: float(job["ends_at"]) for job in books["jobs"]}
    lags = {
        "noticed": [a.finished_at - ends_at[a.job_id] for a in attempts if a.finished_at and a.job_id],
        "delivered": [a.delivered_at - a.finished_at for a in attempts if a.delivered_at and a.finished_at],
    }
    return {
        f"{name} {which}": round(pick(seconds), 1)
        for name, seconds in lags.items()
        if seconds
        for which, pick in (("p50", statistics.median), ("max", max))
    }
