"""What trees of processes cost: CPU seconds to the clock tick, short-lived children included, and peak memory.

How CPU is counted. The kernel adds a process's time to its parent's `cutime` and `cstime` when the parent waits for it,
and keeps a dead process in /proc until then. So the sum of utime + stime + cutime + cstime over all processes of a tree
that are in /proc at one moment holds every child that ever lived in it, however short its life. A child that ends while
/proc is read could be counted twice or never, so a reading counts only when the tree held the same processes before and
after it. A child that loses its parent would leave the tree; the benchmark is made the reaper of its descendants, so such
a child becomes its own, stays in /proc when it ends, and is counted by where it was seen first.

Peak memory is the kernel's own high-water mark (VmHWM), read from living processes every fifth of a second.
"""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.2
PR_SET_CHILD_SUBREAPER = 36
RUN_WORKER, STEP_WORKER, VIDEO_WORKER = "run worker", "step worker", "video worker"
WORKERS = {RUN_WORKER, STEP_WORKER, VIDEO_WORKER}
ORPHANS = "orphans"
NEWBORN_LOOKS = 5
"""Between fork and exec a process shows its parent's command, so the first looks are not trusted for ever."""


@dataclass(frozen=True)
class Process:
    """One process as it stood.

    Attributes:
        pid: Its id.
        parent: Its parent's id.
        born: Clock ticks since boot; with the id it names the process for good.
        alive: Whether it has not ended yet.
        own: CPU seconds of itself.
        children: CPU seconds of the children it has waited for, and of theirs.
    """

    pid: int
    parent: int
    born: int
    alive: bool
    own: float
    children: float

    @property
    def seconds(self) -> float:
        """CPU seconds of itself and of the dead it has waited for."""
        return self.own + self.children


def adopt_orphans() -> None:
    """Make this process the parent of descendants that lose theirs (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def read_process(pid: int) -> Process | None:
    """A process, a zombie too; None when there is none."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    # the name in parentheses may hold anything; the fields are numbered from 1, and the state after it is the third
    fields = text[text.rindex(")") + 2 :].split()
    user, system, user_children, system_children = (int(fields[n - 3]) / TICKS for n in (14, 15, 16, 17))
    return Process(
        pid=pid,
        parent=int(fields[4 - 3]),
        born=int(fields[22 - 3]),
        alive=fields[3 - 3] not in {"Z", "X"},
        own=user + system,
        children=user_children + system_children,
    )


def descendants(root: int) -> dict[int, Process]:
    """Every process below this one, by id; parents come before their children."""
    everything = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - five times a second, so the cheap way
        if entry.isdigit() and (process := read_process(int(entry))) is not None:
            everything[process.pid] = process
    below: dict[int, list[Process]] = {}
    for process in everything.values():
        below.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    waiting = [root]
    while waiting:
        for process in below.get(waiting.pop(), []):
            found[process.pid] = process
            waiting.append(process.pid)
    return found


def steady_descendants(root: int) -> dict[int, Process]:
    """Every process below this one, read while none came or went.

    Raises:
        RuntimeError: They came and went all the time.
    """
    before = _names(descendants(root))
    for _ in range(200):
        found = descendants(root)
        after = _names(descendants(root))
        if before == _names(found) == after:
            return found
        before = after
    raise RuntimeError("processes come and go too fast to be counted")


def _names(processes: Mapping[int, Process]) -> set[tuple[int, int]]:
    return {(p.pid, p.born) for p in processes.values()}


@dataclass
class Usage:
    """What was used since the mark.

    Attributes:
        seconds: CPU seconds of each root's tree, by its name.
        own: CPU seconds of the processes that lived all the time, without children, by root.
        sampled: CPU seconds of workers by role, without what they used after they were last seen.
        peak_mb: The largest high-water mark by role, in megabytes (10^6 bytes).
    """

    seconds: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    sampled: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)


class Meter:
    """Counts what trees below this process use. A context manager: it samples from a thread of its own.

    Args:
        roots: Process ids of children of this process, by the name they are counted under.
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = {pid: name for name, pid in roots.items()}
        self._seen: dict[tuple[int, int], tuple[str, str]] = {}
        self._last: dict[tuple[int, int], float] = {}
        self._looks: dict[tuple[int, int], int] = {}
        self._peak: dict[str, float] = {}
        self._marked: dict[tuple[int, int], Process] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_always, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def mark(self) -> None:
        """Count from now on."""
        with self._lock:
            found = steady_descendants(os.getpid())
            self._classify(found)
            self._marked = {(p.pid, p.born): p for p in found.values()}
            self._peak.clear()

    def read(self) -> Usage:
        """What was used since the mark."""
        with self._lock:
            found = steady_descendants(os.getpid())
            self._note(found)
            usage = Usage(peak_mb={role: round(mb, 1) for role, mb in self._peak.items()})
            # a process that ended since the mark is in its parent's sum now, with what it had used before the mark
            for sign, processes in ((1, found.values()), (-1, self._marked.values())):
                for process in processes:
                    name = self._seen[process.pid, process.born][0]
                    usage.seconds[name] = usage.seconds.get(name, 0) + sign * process.seconds
            for process in found.values():
                before = self._marked.get((process.pid, process.born))
                if before is not None:
                    name = self._seen[process.pid, process.born][0]
                    usage.own[name] = usage.own.get(name, 0) + process.own - before.own
            for worker, seconds in self._last.items():
                before = self._marked.get(worker)
                role = self._seen[worker][1]
                used = seconds - (before.own if before else 0)
                usage.sampled[role] = usage.sampled.get(role, 0) + used
        return usage

    def settle(self, *, below: float = 0.15, window: float = 3.0, at_most: float = 60.0) -> bool:
        """Wait until everything together uses less than so many CPU seconds a second; whether it came to that."""
        give_up = time.monotonic() + at_most
        while time.monotonic() < give_up:
            used = -sum(p.seconds for p in steady_descendants(os.getpid()).values())
            time.sleep(window)
            used += sum(p.seconds for p in steady_descendants(os.getpid()).values())
            if used < below * window:
                return True
        return False

    def wait_for_workers(self, *, at_most: float = 30.0) -> bool:
        """Wait until every worker has ended, since a run is over before its worker is; whether it came to that."""
        give_up = time.monotonic() + at_most
        while time.monotonic() < give_up:
            with self._lock:
                found = descendants(os.getpid())
                self._note(found)
                roles = {self._seen[p.pid, p.born][1] for p in found.values() if p.alive}
            if not roles & WORKERS:
                return True
            time.sleep(SAMPLE_SECONDS)
        return False

    # Sampling

    def _sample_always(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            with self._lock:
                self._note(descendants(os.getpid()))

    def _note(self, found: Mapping[int, Process]) -> None:
        self._classify(found)
        for process in found.values():
            role = self._seen[process.pid, process.born][1]
            if role in WORKERS:
                self._last[process.pid, process.born] = process.own
                self._peak[role] = max(self._peak.get(role, 0), _high_water_mb(process.pid))

    def _classify(self, found: Mapping[int, Process]) -> None:
        """Give each new process its root's name and a role; what is known stays, whoever its parent is by now."""
        for process in found.values():
            name = (process.pid, process.born)
            looks = self._looks[name] = self._looks.get(name, 0) + 1
            if looks > NEWBORN_LOOKS:
                continue
            parent = found.get(process.parent)
            above = self._seen.get((parent.pid, parent.born), ("", "")) if parent else ("", "")
            known = self._seen.get(name)
            root = known[0] if known else self._roots.get(process.pid) or above[0] or ORPHANS
            self._seen[name] = (root, _role(process, above[1]))


def _role(process: Process, parent_role: str) -> str:
    """What a process does, by its command."""
    command = _command(process.pid)
    if "resources.video.worker" in command:
        return VIDEO_WORKER
    if "api grpc" in command or "code-server" in command:
        return "code server"
    if "spawn_main" in command:
        return {"code server": RUN_WORKER, RUN_WORKER: STEP_WORKER}.get(parent_role, "other")
    return "other"


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _high_water_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@contextlib.contextmanager
def ending_all_children(*, keep: Collection[int] = (), seconds: float = 20) -> Iterator[None]:
    """End, by id, what the block leaves running below this process: politely, then by force."""
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
    """Whether it was a dead child of ours, which is now gone."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
