"""Starts workers that deliver clips, kills them at random moments, and replaces them until no clip waits."""

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from proof.deliveries.depot import Depot
from proof.deliveries.worker import waiting
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]


def storm(depot: Depot, *, kills: int, seed: int, longest_seconds: float) -> dict[str, Any]:
    """Start and kill workers, then let one finish; returns the counts."""
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
                raise RuntimeError("a worker did not finish although nobody killed it")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return {
        "clips": len(depot.digests),
        "kills": struck,
        "left_for_the_last": left,
        "fetches": depot.fetches,
        "seconds": round(time.monotonic() - began, 1),
    }


def _start(depot: Depot) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "proof.deliveries.worker", str(depot.place)],
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
