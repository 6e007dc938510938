"""How fast clips pass through the whole pipeline, and what that costs: `make bench-throughput N=100`.

N clips whose jobs take 20 seconds pass through the real daemon, run workers, sandbox and embedded S3, in both ways: submit and
leave, with the completion sensor; and one run that waits. Each round has its own stack, which is idle when the clips are ordered.
Between the rounds a plain script (`bench/plain.py`) produces the same clips without Dagster and ledger: the yardstick of this
machine at this hour. Prints JSON, or with `--markdown` the table of docs/performance.md. `bench/usage.py` describes how CPU and
memory are counted.
"""

import argparse
import dataclasses
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.flow import JOBS, Round, RoundScale, run_round
from bench.machine import machine
from bench.plain_flow import run_plain
from bench.processes import adopt_orphans
from bench.report import TARGETS, TARGETS_WITH_PLACES, markdown, summary
from bench.series_files import OFFERS

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the command; returns 0 if every clip ended as expected, else 1. Targets are reported, not enforced."""
    options = _options()
    if not Path("/proc/self/stat").exists():
        print("this benchmark reads CPU and memory from /proc, which only Linux has", file=sys.stderr)
        return 2
    # SIGTERM must end all started processes too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Dagster looks for dagster.yaml in the working directory
    os.chdir(ROOT)
    adopt_orphans()
    document: dict[str, Any] = {
        "command": _command(),
        "clips": options.clips,
        "rounds": options.rounds,
        "job_seconds": options.job_seconds,
        "spread": options.spread,
        "fail": options.fail,
        "provider": options.provider,
        "places": options.places,
        "post_seconds": options.post_seconds,
        "machine": machine(),
        "ways": {},
    }
    scale = RoundScale(
        options.clips,
        options.job_seconds,
        options.spread,
        options.fail,
        seed=0,
        post_seconds=options.post_seconds,
        places=options.places,
        provider=options.provider,
    )
    rounds: dict[str, list[Round]] = {way: [] for way in (*options.ways, "plain")}
    for seed in range(options.rounds):
        for way, done in rounds.items():
            done.append(_told(way, dataclasses.replace(scale, seed=seed)))
    for way, done in rounds.items():
        targets = TARGETS if options.places is None else TARGETS_WITH_PLACES
        document["ways"][way] = summary(done, rounds["plain"], targets.get(way, {}))
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(markdown(document) if options.markdown else text)
    broken = [
        problem for way in document["ways"].values() for one in way["rounds"] for problem in one["problems"]
    ]
    for problem in broken:
        print(problem, file=sys.stderr)
    return 1 if broken else 0


def _told(way: str, scale: RoundScale) -> Round:
    """Run one round, with lines about it on standard error."""
    began = time.monotonic()
    print(f"{way}: {scale.clips} clips, seed {scale.seed} ...", file=sys.stderr, flush=True)
    one = run_plain(scale) if way == "plain" else run_round(way, scale)
    print(
        f"{way}: wall {one.wall_seconds:.1f} s (ideal {one.ideal_seconds:.1f}), {one.runs} runs, {one.cpu_per_clip:.2f} CPU-s and "
        f"{one.requests_per_clip:.1f} requests a clip, peak MB {one.peak_mb}; the round took {time.monotonic() - began:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return one


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=_whole, default=100, metavar="N", help="clips a round (default 100)")
    parser.add_argument(
        "--fail",
        type=_share,
        default=os.environ.get("FAIL", "0"),
        metavar="SHARE",
        help="share of the jobs that fail (default: FAIL in the environment, or 0)",
    )
    parser.add_argument(
        "--rounds", type=_whole, default=3, metavar="N", help="rounds of each way (default 3)"
    )
    parser.add_argument("--job-seconds", type=float, default=20.0, metavar="S", help="of a job (default 20)")
    parser.add_argument(
        "--spread", type=_share, default=0.3, metavar="SHARE", help="of the jobs' time (default 0.3)"
    )
    parser.add_argument(
        "--post-seconds", type=float, default=0.3, metavar="S", help="to the answer of a POST (default 0.3)"
    )
    parser.add_argument(
        "--places", type=_whole, metavar="N", help="jobs at once (default: no limit); not of the plain script"
    )
    parser.add_argument(
        "--provider",
        choices=list(OFFERS),
        default="aimlapi",
        help="aimlapi takes POSTs at once (default); wavespeed receives one at a time",
    )
    parser.add_argument("--ways", nargs="*", choices=list(JOBS), default=list(JOBS), help="default: both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON there as well")
    parser.add_argument("--markdown", action="store_true", help="print the table instead of the JSON")
    options = parser.parse_args()
    if options.json:
        options.json = options.json.absolute()
    return options


def _whole(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and less than 1")
    return share


def _command() -> str:
    fail = f"FAIL={os.environ['FAIL']} " if "FAIL" in os.environ else ""
    return fail + shlex.join(["python", "-m", "bench.throughput", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
