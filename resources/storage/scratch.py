"""Temporary folders for clips on their way to the bucket. They are removed after their process ends, even if it is killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "clip-"
_MAKING = ".making-"
_LOCK = "in-use"
_MADE_SECONDS = 3600.0
"""A folder that is unfinished after this time belongs to a process that died."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new, empty folder below `parent`, removed at the end.

    The folder has a locked file, which the kernel unlocks when the process dies, so that `sweep` can recognise unused folders. The folder
    gets its final name after the file is locked, since otherwise a sweep could remove it before.
    """
    making = Path(tempfile.mkdtemp(dir=parent, prefix=_MAKING))
    folder = parent / f"{_PREFIX}{making.name.removeprefix(_MAKING)}"
    try:
        with (making / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            making.rename(folder)
            yield folder
    finally:
        for path in (making, folder):
            shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> int:
    """Remove the folders of processes that died. Returns how many there were."""
    removed = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        if _is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    for folder in parent.glob(f"{_MAKING}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _MADE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
    return removed


def _is_left_behind(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
