"""The pushed data folders that a host keeps: the current one, those in use, and the most recently read."""

import contextlib
import fcntl
import os
import re
import shutil
import time
from pathlib import Path

KEPT = 5
"""The number of most recently read folders that are kept."""
IN_USE_SECONDS = 3_600.0
"""Seconds for which a read folder is kept: a command or a tick may still read it."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_GONE = ".gone-"
_LEFTOVER = re.compile(r"\.(gone|fetching|unpacking)-.*")


def is_kept(folder: Path) -> bool:
    """Whether a folder exists here; it then counts as read now."""
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    return folder.is_dir()


def hold(folder: Path) -> int:
    """Keep a folder from being removed until the descriptor is closed or the process ends.

    Raises:
        FileNotFoundError: It was removed at this moment.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    is_there = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # the process that removes it holds its lock while it still has its name
        is_there = os.path.samestat(os.fstat(descriptor), folder.stat())
    finally:
        if not is_there:
            os.close(descriptor)
    if not is_there:
        raise FileNotFoundError(folder)
    return descriptor


def prune(place: Path, *, current: str, now: float | None = None) -> list[str]:
    """Remove unused folders, and files that killed processes left; a process that needs a folder again fetches it.

    Args:
        place: The folder that contains them.
        current: The digest of the one that this host reads.
        now: Seconds since the epoch; by default the time of this machine, whose files they are.

    Returns:
        The digests of the folders that were removed.
    """
    old = (time.time() if now is None else now) - IN_USE_SECONDS
    read_at: dict[Path, float] = {}
    for path in place.iterdir():
        with contextlib.suppress(FileNotFoundError):
            read_at[path] = path.stat().st_mtime
    for path, changed_at in read_at.items():
        if _LEFTOVER.fullmatch(path.name) and changed_at < old:
            shutil.rmtree(path, ignore_errors=True)
    folders = [path for path in read_at if _DIGEST.fullmatch(path.name)]
    folders.sort(key=read_at.__getitem__, reverse=True)
    return [
        path.name
        for path in folders[KEPT:]
        if path.name != current and read_at[path] < old and _remove(path, old)
    ]


def _remove(folder: Path, old: float) -> bool:
    """Remove a folder unless a process holds it or has read it since `old`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_mtime >= old:
            return False
        gone = folder.rename(folder.with_name(f"{_GONE}{folder.name}-{os.getpid()}"))
    except OSError:
        return False
    else:
        shutil.rmtree(gone, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)
