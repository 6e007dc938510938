"""Kill the worker at random while it brings clips home: `make bench-deliveries N=200`.

Workers are started one after the other (two at a time every other round) and killed with SIGKILL after a random moment;
the last ones may finish. Then every clip must have been delivered once, every object of the bucket must be whole and named
by a manifest, and nothing may be left on the disk. Prints what happened as JSON and fails when anything is wrong.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.delivering.depot import Depot, filled
from bench.delivering.judge import violations
from bench.delivering.worker import waiting
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger

ROOT = Path(__file__).parents[1]
LEASE_SECONDS = 2.0


def storm(depot: Depot, *, kills: int, seed: int, longest_seconds: float) -> dict[str, Any]:
    """Start and kill workers, then let one finish; returns what happened."""
    chance, began, struck = Random(seed), time.monotonic(), 0
    workers: list[subprocess.Popen[bytes]] = []
    try:
        while struck < kills and _waits(depot):
            while len(workers) < 1 + struck % 2:
                workers.append(_start(depot))
            time.sleep(chance.uniform(0.05, longest_seconds))
            victim = workers.pop(0)
            struck += victim.poll() is None
            victim.kill()
            victim.wait()
        left = _waits(depot)
        while _waits(depot):
            workers.append(_start(depot))
            if workers[-1].wait(300) != 0:
                raise RuntimeError("a worker that was left alone did not finish")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return {
        "clips": len(depot.digests),
        "kills": struck,
        "left_for_the_last": left,
        "fetches": sum(depot.fetches.values()),
        "seconds": round(time.monotonic() - began, 1),
    }


def _start(depot: Depot) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "bench.delivering.worker", str(depot.place)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if worker.stdout is None or worker.stdout.readline() != b"ready\n":
        raise RuntimeError("the worker does not start")
    worker.stdout.close()
    return worker


def _waits(depot: Depot) -> int:
    with Ledger(depot.ledger, budget=Budget()) as ledger:
        return len(waiting(ledger))


def main() -> None:
    """Set it up, let it storm, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-seconds", type=float, default=1.0, help="that a worker lives at most")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dailies-deliveries-") as name,
        filled(Path(name), clips=options.clips, lease_seconds=LEASE_SECONDS, seed=options.seed) as depot,
    ):
        happened = storm(
            depot, kills=options.kills, seed=options.seed, longest_seconds=options.longest_seconds
        )
        wrong = violations(depot)
    print(json.dumps({**happened, "violations": wrong}, indent=2))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
