"""Processes that dailies starts: each ends when it is told to, and also when its parent dies.

A mark in the environment identifies a process and everything that it starts. A process is ended through a handle (a pidfd) that
was opened before the mark was read, so a program that has got the same id is never touched. Only Linux shows marks.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resources.variables import STACK

RUN_WORKER_TITLE = "dailies-run"
"""The title of a forked run worker, whose arguments are those of its parent."""
_PR_SET_PDEATHSIG = 1
_PROC = Path("/proc")


def child_setup() -> Callable[[], None]:
    """What a child runs first (`preexec_fn`), between fork and exec.

    A shell that starts us in the background ignores SIGINT. Dagster's processes would inherit that and then ignore SIGTERM
    too, so the child restores the default. On Linux the kernel ends the child with its parent. The kernel watches the
    thread that forks, so only the main thread asks for it, because it lasts as long as the process.
    """
    on_linux = sys.platform.startswith("linux")
    libc = ctypes.CDLL(None) if on_linux and threading.current_thread() is threading.main_thread() else None

    def set_up() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return set_up


def end_with_parent() -> None:
    """Let the kernel end this process with SIGTERM when its parent's thread ends (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def set_title(title: str) -> None:
    """Name this process for people and for `of_home`; at most 15 bytes (Linux)."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "comm").write_text(title)


@dataclass(frozen=True)
class Process:
    """A process that carries a stack's mark."""

    pid: int
    """Its id."""
    parent: int
    """The id of its parent process."""
    stack: str
    """The id of its `dailies up`."""
    command: tuple[str, ...]
    """Its arguments."""
    title: str
    """Its program's name, or the title that it gave itself."""


def of_home(home: Path) -> list[Process]:
    """The living processes of every stack of a home, without this one; none if the system does not show marks."""
    processes = []
    for folder in _PROC.glob("[0-9]*"):
        process = _read(int(folder.name), home)
        if process is not None and process.pid != os.getpid():
            processes.append(process)
    return processes


def end(processes: Iterable[Process], home: Path, *, seconds: float) -> list[Process]:
    """End processes, with SIGTERM first and SIGKILL after some seconds; returns those that still lived.

    Args:
        processes: From `of_home`; an id that another program has now is left alone.
        home: The home of their stack.
        seconds: How long they may take.
    """
    with contextlib.ExitStack() as opened:
        handles: dict[int, Process] = {}
        for process in processes:
            handle = opened.enter_context(_handle(process.pid))
            now = _read(process.pid, home)
            if handle is not None and now is not None and now.stack == process.stack:
                handles[handle] = process
        ended = list(handles.values())
        _signal(handles, signal.SIGTERM)
        # a stopped process handles no signal until it continues
        _signal(handles, signal.SIGCONT)
        for number, patience in ((signal.SIGKILL, seconds), (signal.SIGKILL, 5.0)):
            _wait(handles, patience)
            _signal(handles, number)
        return ended


def is_living(pid: int, *, began: str | None = None) -> bool:
    """Whether a process with this id lives; a zombie does not.

    Args:
        began: See `started_at`: another program may have the id by now. None if it is not known.
    """
    if began not in {None, started_at(pid)}:
        return False
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        if _PROC.is_dir():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_at(pid: int) -> str | None:
    """When a process began, in the kernel's unit: together with its id it is unique. None if it is unknown."""
    with contextlib.suppress(OSError, IndexError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    return None


def _read(pid: int, home: Path) -> Process | None:
    """A process of this home; None if it belongs to none or has ended."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        mark = next((entry for entry in environment if entry.startswith(STACK.encode() + b"=")), b"")
        stack, _, place = os.fsdecode(mark.partition(b"=")[2]).partition(":")
        if not stack or place != str(home) or not is_living(pid) or not _has_our_files(pid, home):
            return None
        parent = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        command = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        title = (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return None
    return Process(pid, parent, stack, tuple(os.fsdecode(part) for part in command if part), title)


def _has_our_files(pid: int, home: Path) -> bool:
    """Whether a home's path is the same folder for a process as for us.

    A container's host sees its processes, and their home may have the same path as the host's own but be another folder.
    """
    if _mounts(str(pid)) == _mounts("self"):
        return True
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "root" / home.relative_to("/")).samefile(home)
    return False


def _mounts(process: str) -> str | None:
    with contextlib.suppress(OSError):
        return str((_PROC / process / "ns" / "mnt").readlink())
    return None


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _signal(handles: Iterable[int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(handle, number)


def _wait(handles: dict[int, Process], seconds: float) -> None:
    """Wait until processes have ended, and remove those from the list."""
    give_up = time.monotonic() + seconds
    while handles:
        over, _, _ = select.select(list(handles), [], [], max(give_up - time.monotonic(), 0))
        if not over:
            return
        for handle in over:
            del handles[handle]
