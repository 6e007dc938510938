"""Run workers as forks of one process that has imported everything, the fork server (`multiprocessing.forkserver`).

Dagster starts a new Python for each run, which imports Dagster and all of dailies: more than one CPU second. A fork has them.
The fork server starts with the first run, has one thread and no connection (`pipelines.worker_imports`), and ends when
it has had no worker for ten minutes, or with the process that holds the code. A run still sees what a new Python would see: after an edit of our code,
another version of a package or a change of the environment, runs start as Dagster starts them.
"""

import atexit
import functools
import logging
import os
import signal
import sysconfig
import tempfile
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess, current_process
from typing import Any, ClassVar

from dagster._grpc.server import DagsterApiServer

from resources.dagster_names import dagster_names
from resources.errors import ConfigurationError
from resources.processes import RUN_WORKER_TITLE, set_title
from resources.program_files import program_root

IMPORTS = "pipelines.worker_imports"
"""The module that the fork server imports."""
PACKAGES = ("pipelines", "resources")
"""The packages whose edits the next run must see."""
START_SECONDS = 120.0
"""How long the fork server may take to start a run, its imports included."""
MOST_LOST = 2
"""How many runs in a row may lose the fork server while it starts them, before runs start as new processes."""

logger = logging.getLogger("dailies")


class RunWorker(ForkServerProcess):
    """The process of one run: a fork, or a new Python if the fork server cannot be reached."""

    lost: ClassVar[int] = 0
    """How many runs in a row have lost the fork server while it started them."""

    @staticmethod
    def _Popen(worker: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        # a fork server that was stopped, or hangs, would keep every run from its start for ever
        limit = threading.Timer(START_SECONDS, _end_fork_server)
        limit.daemon = True
        limit.start()
        try:
            fork = ForkServerProcess._Popen(worker)  # noqa: SLF001
        except EOFError:
            # whether it has forked is not known, so Dagster starts this run again; without a limit a fork server that ends while it
            # imports, as beside an agent with a thread in every process, let no run start
            RunWorker.lost += 1
            logger.warning("the fork server has ended before it started a run; Dagster starts the run again")
            raise
        except OSError as error:
            # nothing was forked
            logger.warning("the fork server cannot be reached (%s), so this run starts slowly", error)
            return SpawnProcess._Popen(worker)  # noqa: SLF001
        finally:
            limit.cancel()
        RunWorker.lost = 0
        return fork

    def run(self) -> None:
        """Run in the child."""
        if forkserver.get_inherited_fds() is None:
            super().run()
            return
        set_title(RUN_WORKER_TITLE)
        try:
            super().run()
        finally:
            # a fork ends with `os._exit`, which forgets them
            atexit._run_exitfuncs()  # noqa: SLF001


class RunWorkers(ForkServerContext):
    """The way in which Dagster's code server starts run workers.

    Its queues and events serve forks and new processes alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self._imported = _importable()
        # a folder of its own would make the path of the fork server's socket too long in some homes
        current_process()._config["tempdir"] = tempfile.gettempdir()  # type: ignore[attr-defined]  # noqa: SLF001
        self.set_forkserver_preload([IMPORTS])

    def Process(self, *args: Any, **options: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802 - multiprocessing's name
        """A process that is not started yet."""
        forks = RunWorker.lost < MOST_LOST and _importable() == self._imported
        kind = RunWorker if forks else SpawnProcess
        return kind(*args, **options)


def fork_run_workers() -> None:
    """Let Dagster's code server start its run workers in this way."""
    begin = DagsterApiServer.__init__

    @functools.wraps(begin)
    def begin_with_forks(self: Any, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        # made last, since Dagster has now put its variables into the environment
        self._mp_ctx = RunWorkers()

    DagsterApiServer.__init__ = begin_with_forks  # type: ignore[method-assign]


def _end_fork_server() -> None:
    """End a fork server that does not answer. Ended, it can no longer start the run that Dagster starts again."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # noqa: SLF001
    if pid is not None:
        logger.warning("the fork server has not started a run within %.0f s and is ended", START_SECONDS)
        os.kill(pid, signal.SIGKILL)


def _importable() -> object:
    """What decides what modules are when they are imported: our source files, the installed packages, the environment and our names in Dagster."""
    files = [
        (file.path, file.stat().st_mtime_ns, file.stat().st_size)
        for package in PACKAGES
        for file in _sources(str(program_root() / package))
    ]
    try:
        names = dagster_names.__wrapped__()
    except ConfigurationError:
        names = None
    return sorted(files), _packages(), _environment(), names


def _packages() -> list[str]:
    """The installed packages with their versions, by the names of their metadata.

    A fork has imported the packages of an earlier version, and would import more modules of them, now those of the new one.
    """
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    names = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]  # noqa: PTH112, PTH208
    return sorted(name for name in names if name.endswith(".dist-info"))


def _environment() -> dict[str, str]:
    return dict(os.environ)


def _sources(folder: str) -> "list[os.DirEntry[str]]":
    """The Python files of a package."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _sources(entry.path)
            elif entry.name.endswith(".py"):
                found.append(entry)
    return found
