"""Folders for files on their way, which vanish with the process that uses them, however that ends."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "clip-"
_LOCK = "in-use"


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new, empty folder below `parent`, removed at the end.

    It holds a locked file. The kernel unlocks it when the process dies, so that `sweep` knows what nobody uses any more.
    """
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> int:
    """Remove the folders of processes that died; returns how many."""
    removed = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        if _is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _is_left_behind(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        # one that is being made this moment has no lock yet, and nothing in it
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
