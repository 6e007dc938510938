"""Ten thousand jobs in flight by one process, in real time: `python -m bench.flight`, about six minutes.

The completion sensor of an account is evaluated as Dagster's daemon does, ten seconds apart, in a process of its own: engine, client,
SQLite ledger and Dagster's storage are the product's. The sandbox, another process, has the jobs, half of 141 s and half of 600 s, each
30 % shorter or longer at most. This process takes the part of the collecting runs and of the schedules: it records finished
clips as delivered, and orders as many new ones, so that every place is filled again.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from bench.flight_jobs import ACCOUNT, fault_script, key_of, request_of, write_jobs
from bench.machine import environment, machine, places_variables, read_books, requests_of
from bench.module_process import line_of, module_process
from bench.tables import origin, table
from bench.years import STORAGE
from pipelines.code_location import build_defs
from pipelines.sensors import completion_name
from resources.dagster_resources import Production
from resources.ledger import deliveries, schema
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.states import AttemptState
from resources.providers.account_variables import sandbox_variables
from resources.settings import load_settings, open_ledger
from resources.storage.embedded import EmbeddedS3

TICK_SECONDS, DAEMON_SECONDS = 10.0, 5.0
"""How far ticks are apart, and how often the daemon looks whether one is due."""
COLLECT_SECONDS = 5.0
DEFAULT_SECONDS = 300.0
QUEUED = 200
UNSEEN_SECONDS = 30.0
"""Jobs that ended so shortly before the end are left out, since they may not have been polled yet."""


# The part of the runs and schedules


class Others:
    """Records finished clips as delivered, and orders as many new ones."""

    def __init__(self, ledger: Ledger, first: int) -> None:
        self._ledger, self.number, self._round = ledger, first, 0

    def order(self, count: int) -> None:
        """Order clips as a schedule does."""
        self._round += 1
        for _ in range(count):
            self.number += 1
            decide(self._ledger, [request_of(self.number)], Decision(f"schedule:flight:again-{self._round}"))
            time.sleep(COLLECT_SECONDS / 2 / count)

    def collect(self) -> None:
        """Deliver what is finished."""
        finished = [
            a for a in deliveries.unreported(self._ledger, ACCOUNT) if a.state is AttemptState.SUCCEEDED
        ]
        for attempt in finished:
            deliveries.claim(self._ledger, attempt.id, token="bench")
            facts = {"uri": f"s3://flight/{attempt.id}.mp4", "size": 1, "sha256": "0" * 64}
            deliveries.record_delivered(self._ledger, attempt.id, facts)
            # many runs write now and then, not one without a pause
            time.sleep(COLLECT_SECONDS / 2 / len(finished))
        deliveries.mark_reported(self._ledger, [attempt.id for attempt in finished], "bench")
        self.order(len(finished))


# The measured process


def ticks(folder: Path, seconds: float, clips: int) -> dict[str, Any]:
    """Evaluate the sensor for some time; returns the seconds of each tick and the CPU seconds of each second."""
    production = Production()
    definitions = build_defs(production)
    home = folder / "dagster"
    home.mkdir()
    os.environ["DAGSTER_HOME"] = str(home)
    cpu: list[float] = []
    over = threading.Event()

    def watch() -> None:
        last = time.process_time()
        while not over.wait(1.0):
            cpu.append(time.process_time() - last)
            last += cpu[-1]

    durations, messages = [], []
    with dg.DagsterInstance.local_temp(str(home), {"storage": STORAGE}) as instance:
        instance.add_dynamic_partitions("clips", [key_of(number) for number in range(clips)])
        name = completion_name(ACCOUNT)
        sensor = definitions.resolve_sensor_def(name)
        watcher = threading.Thread(target=watch, daemon=True)
        began = time.monotonic()
        watcher.start()
        print(json.dumps({"began": time.time()}), flush=True)
        while time.monotonic() < began + seconds:
            tick = time.monotonic()
            context = dg.build_sensor_context(
                instance, definitions=definitions, sensor_name=name, resources={"production": production}
            )
            asked = sensor.evaluate_tick(context)
            durations.append(time.monotonic() - tick)
            messages.append(asked.skip_message or f"{len(asked.run_requests or ())} runs requested")
            next_at = tick + TICK_SECONDS
            while next_at < time.monotonic():
                next_at += DAEMON_SECONDS
            time.sleep(next_at - time.monotonic())
        over.set()
        watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"durations": durations, "cpu": cpu, "peak_mb": peak, "messages": messages}


def measure(in_flight: int, seconds: float, post_seconds: float) -> dict[str, Any]:
    """Write the jobs, let the sensor tick, and see when it noticed the ends."""
    with tempfile.TemporaryDirectory(prefix="dailies-flight-") as place:
        folder = Path(place)
        data = folder / "data"
        (data / "series").mkdir(parents=True)
        (data / "models").symlink_to(Path(__file__).parents[1] / "data" / "models")
        (folder / "faults.yaml").write_text(json.dumps(fault_script()))
        (folder / "sandbox").mkdir()
        with EmbeddedS3(folder / "s3", bucket="flight") as s3:
            settings = s3.settings
            variables = {
                "DAILIES_HOME": str(folder),
                "DAILIES_DATA": str(data),
                "DAILIES_S3_ENDPOINT": s3.endpoint_url,
                "DAILIES_S3_BUCKET": s3.bucket,
                "AWS_ACCESS_KEY_ID": settings.access_key_id or "",
                "AWS_SECRET_ACCESS_KEY": settings.secret_access_key.get_secret_value()
                if settings.secret_access_key
                else "",
                "AWS_REGION": settings.region,
                **places_variables(in_flight),
            }
            with environment(variables), open_ledger(load_settings()) as ledger:
                last = write_jobs(ledger, folder / "sandbox" / "sandbox.sqlite", in_flight)
                others = Others(ledger, last)
                others.order(QUEUED)
                options = ["--state", str(folder / "sandbox"), "--faults", str(folder / "faults.yaml")]
                options += ["--post-seconds", str(post_seconds), "--balance", "100000000"]
                with module_process("resources.sandbox", options, folder / "sandbox.log") as sandbox:
                    url = line_of(sandbox, folder / "sandbox.log")["url"]
                    os.environ.update(sandbox_variables(url, "sandbox"))
                    return _watch(ledger, others, url, folder, seconds, last)


def _watch(
    ledger: Ledger, others: Others, url: str, folder: Path, seconds: float, written: int
) -> dict[str, Any]:
    clips = written + int(seconds * 100)
    asked = ["--ticks", str(clips), "--seconds", str(seconds), "--folder", str(folder)]
    with module_process("bench.flight", asked, folder / "ticks.log") as process:
        began = line_of(process, folder / "ticks.log")["began"]
        while process.poll() is None:
            others.collect()
            time.sleep(1.0)
        ended = time.time()
        if process.returncode:
            sys.stderr.write((folder / "ticks.log").read_text()[-4000:])
            raise SystemExit(1)
        found = line_of(process, folder / "ticks.log")
    books = read_books(url)
    with ledger.read() as connection:
        noticed = dict(
            connection.execute(sa.select(schema.attempts.c.job_id, schema.attempts.c.finished_at)).all()
        )
    ends = {job["id"]: float(job["ends_at"]) for job in books["jobs"]}
    lags = sorted(
        (noticed[job] or ended) - at
        for job, at in ends.items()
        if began <= at <= ended - UNSEEN_SECONDS and job in noticed
    )
    if not lags:
        sys.exit(
            f"no job ended in {seconds:g} s, so no lag was measured: measure longer, with --seconds {DEFAULT_SECONDS:g}"
        )
    return {
        **found,
        "seconds": ended - began,
        "lags": lags,
        "requests": requests_of(books),
        "posts": sum(float(job["received_at"]) >= began for job in books["jobs"]),
    }


def shown(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures, as rows."""
    lags, cpu, durations = found["lags"], found["cpu"], found["durations"]
    polls = sum(count for name, count in found["requests"].items() if name.endswith(" poll"))
    return [
        ("ends", f"{len(lags)}"),
        ("lag p50, s", f"{statistics.median(lags):.1f}"),
        ("lag p95, s", f"{lags[int(len(lags) * 0.95)]:.1f}"),
        ("lag max, s", f"{lags[-1]:.1f}"),
        ("polls a second", f"{polls / found['seconds']:.1f}"),
        ("POSTs a second", f"{found['posts'] / found['seconds']:.1f}"),
        ("CPU of the process, of a core", f"{statistics.mean(cpu):.2f}"),
        ("the same in its busiest second", f"{max(cpu):.2f}"),
        ("ticks, s: p50", f"{statistics.median(durations):.1f}"),
        ("ticks, s: max", f"{max(durations):.1f}"),
        ("peak memory, MB", f"{found['peak_mb']:.0f}"),
    ]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--in-flight", type=int, default=10_000, metavar="N", help="jobs in flight")
    parser.add_argument(
        "--seconds",
        type=float,
        default=DEFAULT_SECONDS,
        metavar="S",
        help=f"how long (default {DEFAULT_SECONDS:g})",
    )
    parser.add_argument("--post-seconds", type=float, default=0.3, metavar="S", help="of a POST (0.3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures there")
    parser.add_argument("--ticks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ticks is not None:
        print(json.dumps(ticks(options.folder, options.seconds, options.ticks)))
        return
    before = machine()
    found = measure(options.in_flight, options.seconds, options.post_seconds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(table([f"{options.in_flight:,} jobs in flight", ""], shown(found)))
    command = f"python -m bench.flight --in-flight {options.in_flight} --seconds {options.seconds:g} --post-seconds {options.post_seconds:g}"
    print(origin(command, before))


if __name__ == "__main__":
    main()
