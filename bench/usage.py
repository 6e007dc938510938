"""What trees of processes cost: CPU by the kernel's counters, and memory as each Dagster worker says of itself at its end.

The kernel adds a process's CPU time to its parent's when the parent waits for it. So the sum over the living processes of a
tree holds every child that ever lived in it, however short its life.
"""

import atexit
import contextlib
import json
import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path

from bench.processes import descendants, read_process

NOTES = "BENCH_USAGE"
"""Names the file in which workers note their peaks."""
LOOK_SECONDS = 0.2


def note_at_exit() -> None:
    """Let this process note its peak memory, and that of its largest child, when it ends."""
    path = Path(os.environ[NOTES])

    def note() -> None:
        peaks = {
            "worker": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        }
        with path.open("a") as file:
            file.write(json.dumps({name: kib * 1024 / 1e6 for name, kib in peaks.items()}) + "\n")

    atexit.register(note)


class Meter:
    """Counts what trees of processes use from `mark` on.

    Args:
        roots: Process ids by the name they are counted under.
        notes: The file in which their workers note their peaks.
    """

    def __init__(self, roots: Mapping[str, int], notes: Path) -> None:
        self._roots = dict(roots)
        self._notes = notes
        self._marked = dict.fromkeys(roots, 0.0)

    def mark(self) -> None:
        """Count from now on."""
        self._notes.unlink(missing_ok=True)
        self._marked = {name: tree_seconds(pid) for name, pid in self._roots.items()}

    def seconds(self) -> dict[str, float]:
        """CPU seconds of each tree since the mark."""
        return {name: tree_seconds(pid) - self._marked[name] for name, pid in self._roots.items()}

    def peaks(self) -> dict[str, float]:
        """Peak memory of the largest worker, and of the largest child of one, in megabytes."""
        notes = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return {name: round(max(note[name] for note in notes), 1) for name in ("worker", "child")}


def tree_seconds(root: int) -> float:
    """CPU seconds of a process and of everything that ever lived below it."""
    top = read_process(root)
    living = [*descendants(root).values(), *([top] if top else [])]
    return sum(process.seconds for process in living)


def settle(*, below: float = 0.15, window: float = 3.0, at_most: float = 60.0) -> bool:
    """Wait until all children use less than so many CPU seconds a second; whether it came to that."""
    give_up = time.monotonic() + at_most
    while time.monotonic() < give_up:
        before = tree_seconds(os.getpid())
        time.sleep(window)
        if tree_seconds(os.getpid()) - before < below * window:
            return True
    return False


def wait_for_workers(*, at_most: float = 30.0) -> bool:
    """Wait until every worker has ended, since a run is over before its worker is; whether they have."""
    give_up = time.monotonic() + at_most
    while time.monotonic() < give_up:
        if not any(_is_worker(pid) for pid in descendants(os.getpid())):
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _is_worker(pid: int) -> bool:
    """Whether Dagster has started a process for a run or a step."""
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path("/proc", str(pid), "cmdline").read_bytes()
    return False
