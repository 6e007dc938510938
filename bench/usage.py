"""CPU of process trees by the kernel's counters, and the peak memory of Dagster's workers.

The kernel adds a process's CPU time to its parent's when the parent waits for it. The sum over the living processes of a tree
therefore includes every child that ever lived in it. Memory is the kernel's high-water mark (VmHWM), read while a worker lives:
`getrusage` also counts the peak of the process that forked the worker, which may be larger.
"""

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from bench.processes import ProcessState, descendants, read_process
from resources.processes import RUN_WORKER_TITLE

LOOK_SECONDS = 0.2


class Meter:
    """Measures process trees since `mark`; a context manager, whose thread reads memory.

    Args:
        roots: Process ids, by the names under which they are counted.
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        self.peaks: dict[str, float] = {}
        """Peak memory by `role_of`, in megabytes (10^6 bytes)."""
        self._roots = dict(roots)
        self._marked = dict.fromkeys(roots, 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def mark(self) -> None:
        """Start counting anew."""
        self.peaks.clear()
        self._marked = {name: tree_seconds(pid) for name, pid in self._roots.items()}

    def seconds(self) -> dict[str, float]:
        """CPU seconds of each tree since the mark."""
        return {name: tree_seconds(pid) - self._marked[name] for name, pid in self._roots.items()}

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            found = descendants(os.getpid())
            for process in found.values():
                if (role := role_of(process, found)) is not None:
                    peak = max(self.peaks.get(role, 0.0), _high_water_mb(process.pid))
                    self.peaks[role] = round(peak, 1)


def tree_seconds(root: int) -> float:
    """CPU seconds of a process and of everything that ever lived below it."""
    top = read_process(root)
    living = [*descendants(root).values(), *([top] if top else [])]
    return sum(process.seconds for process in living)


def settle(*, below: float = 0.15, window: float = 3.0, at_most: float = 60.0) -> bool:
    """Wait until all children together use less than a number of CPU seconds per second; returns whether they do."""
    give_up = time.monotonic() + at_most
    while time.monotonic() < give_up:
        before = tree_seconds(os.getpid())
        time.sleep(window)
        if tree_seconds(os.getpid()) - before < below * window:
            return True
    return False


def wait_for_workers(*, at_most: float = 30.0) -> bool:
    """Wait until every worker has ended, since a run is over before its worker ends; returns whether they have."""
    give_up = time.monotonic() + at_most
    while time.monotonic() < give_up:
        found = descendants(os.getpid())
        if not any(role_of(process, found) for process in found.values()):
            return True
        time.sleep(LOOK_SECONDS)
    return False


def role_of(process: ProcessState, others: Mapping[int, ProcessState]) -> str | None:
    """`worker` for a run or the plain script, `child` for a child of one, which decodes clips; None for any other process."""
    command = _command(process.pid)
    if b"resources.video.worker" in command:
        return "child"
    if b"bench.plain" in command:
        return "worker"
    if _title(process.pid) == RUN_WORKER_TITLE:
        return "worker"
    if b"spawn_main" not in command:
        return None
    parent = others.get(process.parent)
    return "child" if parent is not None and b"spawn_main" in _command(parent.pid) else "worker"


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes()
    return b""


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "comm").read_text().strip()
    return ""


def _high_water_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
