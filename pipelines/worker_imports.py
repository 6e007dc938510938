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
from multiprocessing import forkserver
from pathlib import Path

from resources.processes import end_with_parent

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
ENDING_SECONDS = 10
"""How long it stays when nobody can reach it any more: a run that has just reached it is still forked."""


class ForkServer:
    """This process, between its forks. Its forks find the hooks too, and so do their children, which are no runs."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._is_ending = False

    def wait_for_runs(self) -> None:
        """Begin to count the idle time anew."""
        if self._pid:
            signal.alarm(ENDING_SECONDS if self._is_ending else IDLE_SECONDS)

    def end_if_idle(self, *_: object) -> None:
        """End, or wait for the runs that work."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            if self._is_ending:
                sys.exit()
            # a run every ten minutes comes when this process ends, and Dagster would have to start it again
            self._is_ending = True
            address = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]  # noqa: SLF001
            Path(address).unlink(missing_ok=True)
        self.wait_for_runs()

    def begin_run(self) -> None:
        """Become a run worker, in a fork."""
        server, self._pid = self._pid, 0
        if not server:
            return
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        # without the fork server nobody would tell Dagster how this run ends, so it hands over and is retried
        end_with_parent()
        if os.getppid() != server:
            os._exit(1)


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
    server = ForkServer()
    signal.signal(signal.SIGALRM, server.end_if_idle)
    os.register_at_fork(after_in_parent=server.wait_for_runs, after_in_child=server.begin_run)
    server.wait_for_runs()


def _threads() -> int:
    """The threads of this process, those of libraries too; 1 where the system does not show them."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


load()
