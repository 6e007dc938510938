"""Imports what a run worker needs, in the process that forks the run workers (`pipelines.run_workers`).

A fork has a copy of everything that is here. So this process has one thread and no connection, has read no settings and no
data, and holds no random numbers: a run's ids must never be another run's. `pipelines.definitions`, which reads the data folder,
is imported by each worker.
"""

import gc
import importlib
import os
import signal
import sys
from pathlib import Path

MODULES = (
    "dagster._cli",
    "dagster._grpc.server",
    "pipelines.code_location",
    "pipelines.dagster_storage",
    "pipelines.run_workers",
    # what runs import when they need it
    "boto3",
)

IDLE_SECONDS = 600
"""How long this process is kept after its last fork; it holds about 120 MB."""


def load() -> None:
    """Import, and get ready to fork.

    Raises:
        RuntimeError: An import has started a thread, whose locks a fork would inherit for ever. Runs then start as new processes.
    """
    # one search for garbage less for each thousand objects; what is frozen is never searched, so that forks share its memory
    gc.disable()
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
    if _threads() > 1:
        raise RuntimeError("an import has started a thread, so no run worker can be forked")
    # it ends after its workers, which would otherwise lose their parent while they hand over
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _end_if_idle)
    os.register_at_fork(after_in_parent=_wait_for_runs, after_in_child=_reset_signals)
    _wait_for_runs()


def _wait_for_runs() -> None:
    signal.alarm(IDLE_SECONDS)


def _end_if_idle(*_: object) -> None:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        sys.exit()
    _wait_for_runs()


def _reset_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)


def _threads() -> int:
    """The threads of this process, those of libraries too; 1 where the system does not show them."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


load()
