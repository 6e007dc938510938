"""What every process that dailies starts has in common: it ends when it is told to, and when we end without telling it."""

import contextlib
import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def prepare_child() -> None:
    """To be run in a child between fork and exec (`preexec_fn`).

    A shell that starts us in the background ignores SIGINT; Dagster's processes inherit that and then ignore SIGTERM as
    well. That the kernel ends a child with its parent exists on Linux only; elsewhere it stays and says so at the next start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
