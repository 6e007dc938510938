"""What every process that dailies starts has in common: it ends when it is told to, and when we end without telling it."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def child_setup() -> Callable[[], None]:
    """What a child runs first (`preexec_fn`), between fork and exec.

    A shell that starts us in the background ignores SIGINT; Dagster's processes inherit that and then ignore SIGTERM as
    well, so the child takes its default back. On Linux the kernel then ends the child with its parent; it watches the
    thread that forks, so that is asked for only from the main thread, which lasts as long as the process.
    """
    on_linux = sys.platform.startswith("linux")
    libc = ctypes.CDLL(None) if on_linux and threading.current_thread() is threading.main_thread() else None

    def set_up() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return set_up
