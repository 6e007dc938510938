"""Trees of processes below this one, read from the kernel's table (Linux), and ended by id."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class ProcessState:
    """One process at the time of reading."""

    pid: int
    """The process's id."""
    parent: int
    """Its parent's id."""
    born: int
    """Clock ticks since boot; an id and this number name one process only."""
    alive: bool
    """Whether the process is no zombie."""
    own: float
    """CPU seconds of the process itself."""
    children: float
    """CPU seconds of the children that it waited for, and of theirs."""

    @property
    def seconds(self) -> float:
        """CPU seconds of the process and of the children that it waited for."""
        return self.own + self.children


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent ends (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def read_process(pid: int) -> ProcessState | None:
    """Read a process, also a zombie; None if it does not exist."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold any character. Fields are numbered from 1; the state, which follows the name, is field 3.
    fields = text[text.rindex(")") + 2 :].split()
    user, system, user_children, system_children = (int(fields[n - 3]) / TICKS for n in (14, 15, 16, 17))
    return ProcessState(
        pid=pid,
        parent=int(fields[4 - 3]),
        born=int(fields[22 - 3]),
        alive=fields[3 - 3] not in {"Z", "X"},
        own=user + system,
        children=user_children + system_children,
    )


def descendants(root: int) -> dict[int, ProcessState]:
    """Every process below this one, by id; parents precede their children."""
    everything = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - called five times a second, so the cheapest way
        if entry.isdigit() and (process := read_process(int(entry))) is not None:
            everything[process.pid] = process
    below: dict[int, list[ProcessState]] = {}
    for process in everything.values():
        below.setdefault(process.parent, []).append(process)
    found: dict[int, ProcessState] = {}
    waiting = [root]
    while waiting:
        for process in below.get(waiting.pop(), []):
            found[process.pid] = process
            waiting.append(process.pid)
    return found


@contextlib.contextmanager
def ending_all_children(*, keep: Collection[int] = (), seconds: float = 20) -> Iterator[None]:
    """End every process that the block leaves below this one by its id: with SIGTERM, then with SIGKILL."""
    try:
        yield
    finally:
        give_up = time.monotonic() + seconds
        while left := [pid for pid in descendants(os.getpid()) if pid not in keep and not _reaped(pid)]:
            late = time.monotonic() > give_up
            if time.monotonic() > give_up + seconds:
                raise RuntimeError(f"processes {left} do not end")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            time.sleep(0.2)


def _reaped(pid: int) -> bool:
    """Whether the process was a dead child of this one; it is gone afterwards."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
