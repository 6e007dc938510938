"""How ticks, pages and files grow with years of clips: `python -m bench.years`, about ten minutes.

For each number of purchases, a separate process writes a ledger and Dagster's storage, as if retention were off, and measures CPU
seconds. `--markdown` prints the table of docs/performance.md.
"""

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from bench.dagster_history import write_dagster_history
from bench.history import write_history
from bench.machine import is_ours, machine
from bench.sold_series import SERIES
from bench.ui import asking
from pipelines.code_location import build_defs
from pipelines.sensors import completion_name
from resources.dagster_resources import Production

SIZES = (1_000, 10_000, 110_000)
STORAGE = {"custom": {"module": "pipelines.dagster_storage", "class": "KeptSqliteStorage"}}
"""The setting of `dagster.yaml`."""
CLIPS_OF_A_TICK = 50
PAGE = """query Page { assetNodes(assetKeys: [{path: ["uploaded_videos"]}]) { partitionStats { numPartitions numMaterialized numFailed }
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } }"""
CLIP = """query Clip($clip: String!) { assetNodes(assetKeys: [{path: ["uploaded_videos"]}]) {
  latestMaterializationByPartition(partitions: [$clip]) { timestamp } staleStatus(partition: $clip) } }"""
RUNS = """query Runs { runsOrError(limit: 25) { ... on Runs { results { runId status } } } }"""
ROWS = {
    "tick": "a completion sensor's tick with nothing due, s",
    "unchanged": "`declared_clips`, nothing changed, s",
    "edit": "`declared_clips` after an edit of a dated series, s",
    "schedule": "a schedule's tick of 50 clips, s",
    "launch": "Dagster plans their run, s",
    "page": "partitions of an asset, first time, s",
    "page again": "the same page again, s",
    "clip": "one clip of an asset, s",
    "runs": "the newest 25 runs, s",
    "ledger": "the ledger, MB",
    "dagster": "Dagster's index, MB",
    "event bytes": "events a clip in the index, bytes",
    "peak": "peak memory of the process, MB",
    "written": "time to write the history, s",
}
"""The measured figures in the order of the table; times are CPU seconds of one process."""


def measure(purchases: int, folder: Path) -> dict[str, float]:
    """Write a history and measure it; call this once in a process."""
    production = Production()
    home = folder / "dagster"
    home.mkdir()
    found: dict[str, float] = {}
    began = time.process_time()
    with production.ledger() as ledger:
        written = write_history(ledger, purchases, now=ledger.clock(), under_way=False)
        take = ledger.latest(written.delivered[-1:]).popitem()[1]
    definitions = build_defs(production)
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.local_temp(str(home), {"storage": STORAGE}) as instance:
        job = definitions.resolve_job_def("submit_clips")
        found["event bytes"] = write_dagster_history(instance, home, written.clips, take, job)
        found["written"] = time.process_time() - began

        def tick(name: str, cursor: str | None = None) -> Any:
            sensor = definitions.resolve_sensor_def(name)
            context = dg.build_sensor_context(
                instance,
                cursor=cursor,
                definitions=definitions,
                sensor_name=name,
                resources={"production": production},
            )
            return sensor.evaluate_tick(context)

        tick(completion_name("wavespeed"))
        _, found["tick"] = cpu(lambda: tick(completion_name("wavespeed")))
        seen, _ = cpu(lambda: tick("declared_clips"))
        _, found["unchanged"] = cpu(lambda: tick("declared_clips", seen.cursor))
        file = folder / "data" / "series" / f"{SERIES[0].name}.yaml"
        file.write_text(file.read_text().replace("quiet", "loud"))
        _, found["edit"] = cpu(lambda: tick("declared_clips", seen.cursor))
        name = f"{SERIES[0].name}_schedule"
        schedule = definitions.resolve_schedule_def(name)
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=dt.datetime.now(dt.UTC), resources={"production": production}
        )
        asked, found["schedule"] = cpu(lambda: schedule.evaluate_tick(context))
        (request,) = list(asked.run_requests or ())
        _, found["launch"] = cpu(lambda: instance.create_run_for_job(job, tags=dict(request.tags)))
        with asking(instance) as ask:
            ask(RUNS)
            page, found["page"] = cpu(lambda: ask(PAGE))
            stats = page["assetNodes"][0]["partitionStats"]
            assert stats["numMaterialized"] == len(written.clips), stats
            _, found["page again"] = cpu(lambda: ask(PAGE))
            _, found["clip"] = cpu(lambda: ask(CLIP, clip=written.clips[0]))
            _, found["runs"] = cpu(lambda: ask(RUNS))
    found["ledger"] = size(folder, "ledger.db*")
    found["dagster"] = size(home, "history/runs/index.db*")
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def declared(folder: Path) -> Path:
    """Write the series of the history's clips; returns the data folder."""
    data = folder / "data"
    (data / "series").mkdir(parents=True)
    (data / "models").symlink_to(Path(__file__).parents[1] / "data" / "models")
    for series in SERIES:
        text = {
            "name": series.name,
            "endpoint": "bytedance/seedance-2.0/text-to-video",
            "provider": "wavespeed",
            "parameters": {"duration": 5},
            "prompt": "A quiet view of {{ clip }}.",
            "dated": True,
            "schedule": {"cron": "0 6 * * *", "timezone": "UTC"},
            "clips": [{"name": f"{number:03}"} for number in range(CLIPS_OF_A_TICK)],
        }
        (data / "series" / f"{series.name}.yaml").write_text(json.dumps(text))
    return data


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a piece of work, and its CPU seconds in this process."""
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


def size(folder: Path, pattern: str) -> float:
    """Total size of some files in megabytes."""
    return sum(file.stat().st_size for file in folder.rglob(pattern)) / 1e6


def table(results: dict[int, dict[str, float]]) -> str:
    """The figures as a Markdown table, one column for each size."""
    lines = [
        "|  | " + " | ".join(f"{purchases:,} purchases" for purchases in results) + " |",
        "| --- |" + " ---: |" * len(results),
    ]
    for name, label in ROWS.items():
        numbers = (found[name] for found in results.values())
        lines.append(
            f"| {label} | " + " | ".join(f"{n:,.0f}" if n >= 100 else f"{n:.3g}" for n in numbers) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure each size in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=list(SIZES),
        help="numbers of purchases; one clip in eleven is bought twice",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table instead of JSON")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.folder)))
        return
    results = {}
    for purchases in options.sizes:
        with tempfile.TemporaryDirectory(prefix="dailies-years-") as folder:
            environment = {
                **{name: value for name, value in os.environ.items() if not is_ours(name)},
                "DAILIES_ENV_FILE": "",
                "DAILIES_HOME": folder,
                "DAILIES_DATA": str(declared(Path(folder))),
                "WAVESPEED_API_KEY": "unused",
                "AIMLAPI_API_KEY": "unused",
            }
            command = [sys.executable, "-m", "bench.years", "--one", str(purchases), "--folder", folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        results[purchases] = json.loads(done.stdout.splitlines()[-1])
        print(f"{purchases:,} purchases measured", file=sys.stderr)
    print(table(results) if options.markdown else json.dumps(results, indent=2))
    print(json.dumps(machine()), file=sys.stderr)


if __name__ == "__main__":
    main()
