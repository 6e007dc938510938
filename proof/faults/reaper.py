"""Kills processes by id, or stops them for longer than a lease; finds the process that has a port."""

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


class Reaper:
    """Kills and stops processes, and counts them.

    Attributes:
        done: The number by action and moment.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self._asleep: dict[int, float] = {}
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """The number of kills and stops."""
        return sum(self.done.values())

    def kill(self, pid: int, moment: str) -> bool:
        """Kill a process at once; returns whether it was alive."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._asleep.pop(pid, None)
            self.done[f"kill -9 {moment}"] += 1
            return True
        return False

    def put_to_sleep(self, pid: int, moment: str, *, real_seconds: float) -> bool:
        """Stop a process, and continue it later; returns whether it was awake."""
        with self._lock:
            if pid in self._asleep:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._asleep[pid] = time.monotonic() + real_seconds
                self.done[f"SIGSTOP {moment}"] += 1
                return True
        return False

    def sleepers(self) -> set[int]:
        """The stopped processes."""
        with self._lock:
            return set(self._asleep)

    def wake(self, *, everybody: bool = False) -> None:
        """Continue the processes whose stop is over."""
        with self._lock:
            for pid, until in list(self._asleep.items()):
                if everybody or time.monotonic() >= until:
                    del self._asleep[pid]
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)


def process_at(port: int, candidates: Iterable[int]) -> int | None:
    """The one of these processes that has a TCP connection from this port of 127.0.0.1 (Linux)."""
    inode = _inode(port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for pid in candidates:
        with contextlib.suppress(OSError):
            for link in Path("/proc", str(pid), "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link) == wanted:  # noqa: PTH115 - a socket is no path
                        return pid
    return None


def _inode(port: int) -> str | None:
    local = re.compile(rf"\s*\d+: 0100007F:{port:04X} ")
    for line in Path("/proc/net/tcp").read_text().splitlines():
        if local.match(line):
            return line.split()[9]
    return None
