"""A lock that the kernel holds on a file, for processes of one machine: it ends with its holder, however that ends."""

import fcntl
import time
from typing import IO

LOOK_SECONDS = 0.05


class FileLockedError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: What that process wrote into the file.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def lock_file(file: IO[str], *, patience_seconds: float) -> None:
    """Lock an open file until it is closed, here and in the processes that inherit it.

    Args:
        file: Open for reading and writing.
        patience_seconds: How long to wait for another holder, which may end soon.

    Raises:
        FileLockedError: Another process holds the lock for longer.
    """
    give_up = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                file.seek(0)
                raise FileLockedError(file.read().strip()) from None
            time.sleep(LOOK_SECONDS)
        else:
            return
