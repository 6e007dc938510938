"""The supervision of `dailies up`: how often a process has died lately, and whether the code location is loaded."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from resources.processes import is_living, of_home, started_at

STOP_SECONDS = 15.0
DEATHS = 8
DEATHS_SECONDS = 120.0
"""A process that has ended more than `DEATHS` times within this time, in seconds, is not restarted."""


class Deaths:
    """Counts how often each process has ended lately.

    Args:
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._of: dict[str, list[float]] = {}

    def are_too_many(self, name: str) -> bool:
        """Count one more death; True if there were too many."""
        now = self._monotonic()
        lately = [at for at in self._of.get(name, ()) if now - at < DEATHS_SECONDS]
        self._of[name] = [*lately, now]
        return len(self._of[name]) > DEATHS


class CodeWatch:
    """Notices that the code server has lost the process that holds the code.

    When memory is short, the system kills that process, and the sensors stop until it is back. The watch reads the parents of processes,
    so it needs no answer from Dagster. On a system that does not show them, it notices nothing.

    Args:
        home: The stack's home.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._seen: int | None = None
        self._was_gone = False
        self._holder: tuple[int, str | None] | None = None

    def is_gone(self, code_server: int) -> bool:
        """Whether the process was gone twice in a row; once may mean that the code server is replacing it.

        Args:
            code_server: The process id of the code server.
        """
        if self._seen == code_server and self._still_holds():
            return False
        holder = next(
            (p.pid for p in of_home(self._home) if p.parent == code_server and "grpc" in p.command), None
        )
        if holder is not None:
            self._seen, self._was_gone = code_server, False
            self._holder = holder, started_at(holder)
            return False
        if self._seen != code_server:
            # the code server has not loaded the code yet
            return False
        was_gone, self._was_gone = self._was_gone, not self._was_gone
        return was_gone

    def _still_holds(self) -> bool:
        """Whether the process that was found last is still alive. Reading every process of the machine each time cost more than all else."""
        if self._holder is None:
            return False
        pid, started = self._holder
        return started is not None and is_living(pid, began=started)


def end_child(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we started; kill its group if it does not end in time."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
