"""One round of the naive pipeline: on the same sandbox and S3 server, with `dagster dev` and its default settings."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from bench.flow import Round, Scale, run_line
from bench.machine import environment, longest_job, read_books, requests_of, sandbox_options
from bench.processes import ending_all_children
from bench.series_files import declare
from bench.usage import Meter, settle, wait_for_workers
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.stack import HOST, START_SECONDS, free_port
from resources.errors import DailiesError, UnavailableError
from resources.storage.embedded import EmbeddedS3

DEFINITIONS = Path(__file__).parent / "naive" / "definitions.py"
ASSET = "video"
LOOK_SECONDS = 1.0
STOP_SECONDS = 20
_READY = """
query Ready {
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""
_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename ... on LaunchBackfillSuccess { backfillId } }
}
"""


def run_naive(scale: Scale) -> Round:
    """Materialize every partition as the UI does, and wait until all runs are over.

    Raises:
        resources.errors.DailiesError: Something does not start.
        TimeoutError: The runs do not end.
    """
    with tempfile.TemporaryDirectory(prefix="naive-bench-") as place, ending_all_children():
        folder = Path(place)
        declared = declare(folder, clips=scale.clips, fail=scale.fail)
        options = sandbox_options(
            job_seconds=scale.job_seconds,
            spread=scale.spread,
            seed=scale.seed,
            clips=scale.clips,
            faults=declared.faults,
        )
        prompts = folder / "prompts.json"
        prompts.write_text(json.dumps(declared.prompts))
        home = folder / "home"
        home.mkdir()
        # an empty file means the defaults, and no warning
        (home / "dagster.yaml").touch()
        with (
            environment(
                {
                    "DAGSTER_HOME": str(home),
                    "NAIVE_PROMPTS": str(prompts),
                }
            ),
            _process(
                [sys.executable, "-m", "resources.sandbox", *options], folder / "sandbox.log"
            ) as sandbox,
            EmbeddedS3(folder / "s3", bucket="naive") as s3,
        ):
            url = _first_line(sandbox, "the sandbox")["url"]
            os.environ |= _reach(url, s3)
            port = free_port()
            command = [
                sys.executable,
                "-m",
                "dagster",
                "dev",
                "-f",
                str(DEFINITIONS),
                "-h",
                HOST,
                "-p",
                str(port),
            ]
            with (
                _process(command, folder / "dagster.log") as dagster,
                DagsterApi(f"http://{HOST}:{port}") as api,
            ):
                _wait_until_ready(api, dagster, folder / "dagster.log")
                roots = {"dagster": dagster.pid, "sandbox": sandbox.pid, "s3": s3.pid or 0}
                return _measure(api, roots, url, list(declared.prompts), declared.doomed, scale)


def _measure(
    api: DagsterApi, roots: dict[str, int], sandbox_url: str, keys: list[str], doomed: int, scale: Scale
) -> Round:
    with Meter(roots) as meter, dg.DagsterInstance.get() as instance:
        settle()
        meter.mark()
        asked_at = time.time()
        _ask(api, keys)
        runs = _wait(instance, scale)
        settled = time.time() - asked_at
        wait_for_workers()
        seconds = meter.seconds()
        found = instance.fetch_materializations(dg.AssetKey(ASSET), limit=scale.clips).records
    books = read_books(sandbox_url)
    requests = requests_of(books)
    succeeded = sum(run.dagster_run.status is dg.DagsterRunStatus.SUCCESS for run in runs)
    expected = scale.clips - doomed
    return Round(
        wall_seconds=round(max((record.timestamp for record in found), default=0) - asked_at, 1),
        ideal_seconds=round(longest_job(books), 1),
        runs=len(runs),
        requests_per_clip=round(sum(requests.values()) / scale.clips, 2),
        cpu_per_clip=round(seconds["dagster"] / scale.clips, 3),
        sandbox_cpu_per_clip=round(seconds["sandbox"] / scale.clips, 3),
        s3_cpu_per_clip=round(seconds["s3"] / scale.clips, 3),
        peak_mb=meter.peaks,
        details={
            "settled_seconds": round(settled, 1),
            "requests": requests,
            "runs": [run_line(run, asked_at) for run in sorted(runs, key=lambda r: r.storage_id)],
        },
        problems=[] if succeeded == expected else [f"{succeeded} clips succeeded instead of {expected}"],
    )


def _ask(api: DagsterApi, keys: Sequence[str]) -> None:
    """What the UI's button for all partitions sends."""
    params = {"assetSelection": [{"path": [ASSET]}], "partitionNames": list(keys)}
    answer = api.query(_BACKFILL, params=params)["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise DailiesError(f"Dagster did not start the naive backfill: {answer['__typename']}")


def _wait(instance: dg.DagsterInstance, scale: Scale) -> list[dg.RunRecord]:
    give_up = time.monotonic() + scale.patience
    while True:
        runs = list(instance.get_run_records())
        over = sum(run.dagster_run.is_finished for run in runs)
        if over == scale.clips:
            return runs
        if time.monotonic() > give_up:
            raise TimeoutError(
                f"after {scale.patience:.0f} s only {over} of {scale.clips} naive runs were over"
            )
        time.sleep(LOOK_SECONDS)


def _wait_until_ready(api: DagsterApi, dagster: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if dagster.poll() is not None:
            raise UnavailableError(f"the naive Dagster has ended: {log.read_text(errors='replace')[-500:]}")
        with contextlib.suppress(UnavailableError):
            data = api.query(_READY)
            daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
            if data["repositoriesOrError"].get("nodes") and all(
                d["healthy"] for d in daemons if d["required"]
            ):
                return
        time.sleep(0.5)
    raise UnavailableError(f"the naive Dagster did not start within {START_SECONDS:.0f} s")


def _reach(url: str, s3: EmbeddedS3) -> dict[str, str]:
    """How the definitions reach the sandbox and the bucket."""
    settings = s3.settings
    secret = settings.secret_access_key.get_secret_value() if settings.secret_access_key else ""
    return {
        "NAIVE_PROVIDER_URL": url,
        "WAVESPEED_API_KEY": "sandbox",
        "NAIVE_S3_URL": s3.endpoint_url,
        "NAIVE_BUCKET": s3.bucket,
        "AWS_ACCESS_KEY_ID": settings.access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": settings.region,
    }


def _first_line(process: "subprocess.Popen[bytes]", name: str) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise UnavailableError(f"{name} did not start")
    return dict(json.loads(line))


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A process for the block, ended by its id. What it prints after its first line is not read."""
    with log.open("ab") as errors:
        stdout = subprocess.PIPE if "resources.sandbox" in command else errors
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
