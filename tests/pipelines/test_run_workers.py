"""Run workers are forks of a process that has imported everything, and share nothing with each other."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from dagster._grpc import server
from worker_tasks import (
    SECONDS,
    generators,
    ids_of_a_run,
    leave_at_exit,
    sleep,
    start_a_child,
    title_and_parent,
)

from pipelines import code_server, run_workers
from pipelines.cli.takeover import name_of
from pipelines.run_workers import RunWorker, RunWorkers
from resources.processes import Process

VARIABLES = {"PATH": "/bin"}


def end_fork_server() -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module", autouse=True)
def _own_fork_server() -> Iterator[None]:
    """A process has one fork server: that of other tests is ended first, and ours afterwards."""
    end_fork_server()
    yield
    end_fork_server()


IMPORTS_LITTLE = """
import sys, types

for name in ("dagster._cli", "dagster._grpc.server", "pipelines.code_location", "pipelines.dagster_storage", "boto3"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["dagster._grpc.server"].DagsterApiServer = object
"""


@pytest.fixture
def new_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A new fork server that finds empty modules in place of Dagster and ours; returns the file that makes them.

    Starting and ending one that imports everything takes four CPU seconds.
    """
    end_fork_server()
    file = tmp_path / "start" / "sitecustomize.py"
    file.parent.mkdir()
    file.write_text(IMPORTS_LITTLE)
    path = os.pathsep.join([str(file.parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    yield file
    end_fork_server()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> RunWorkers:
    """The way of the code server, with this process in its place."""
    # pytest writes the name of each step of a test into the environment
    monkeypatch.setattr(run_workers, "_environment", lambda: dict(VARIABLES))
    return RunWorkers()


def answer_of(workers: RunWorkers, work: Callable[..., None], *args: object) -> Any:
    """What a worker puts into its queue, as a run worker reports that it has begun."""
    answers = workers.Queue()
    worker = workers.Process(target=work, args=[answers, *args])
    worker.start()
    answer = answers.get(timeout=SECONDS)
    worker.join(SECONDS)
    assert worker.exitcode == 0
    return answer


def test_two_workers_make_different_ids_and_chances(workers: RunWorkers) -> None:
    first, second = (answer_of(workers, ids_of_a_run) for _ in range(2))
    assert [name for name in first if first[name] == second[name]] == []


@pytest.mark.slow
def test_a_generator_that_is_there_before_the_fork_repeats_itself() -> None:
    """The negative control of the test above and of the one below: such a generator gives two workers one id."""
    made_before = random.Random()
    drawn = []
    for _ in range(2):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writing, made_before.randbytes(16).hex().encode())
            os._exit(0)
        os.waitpid(child, 0)
        drawn.append(os.read(reading, 100))
        os.close(reading)
        os.close(writing)
    assert drawn[0] == drawn[1]
    assert made_before in generators()


LOOKS_AT_THE_FORK_SERVER = """
import os, sys

opened = set()
before = set(os.listdir("/proc/self/fd"))
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)

import pipelines.worker_imports

seen = sorted(opened)
import gc, json, logging, socket, sqlite3

sys.path.insert(0, sys.argv[1])
from worker_tasks import generators

gc.unfreeze()
kinds = (sqlite3.Connection, socket.socket, logging.FileHandler)
caches = {
    f"{value.__module__}.{value.__qualname__}"
    for name, module in list(sys.modules.items())
    if name.startswith(("pipelines", "resources"))
    for value in vars(module).values()
    if hasattr(value, "cache_info") and value.cache_info().currsize
}
print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "descriptors": sorted(set(os.listdir("/proc/self/fd")) - before),
    "generators": len(generators()),
    "connections": [repr(one) for one in gc.get_objects() if isinstance(one, kinds)],
    "modules": sorted(set(sys.modules) & {"pipelines.definitions", "opentelemetry", "av"}),
    "caches": sorted(caches),
    "files": seen,
}), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_the_fork_server_holds_nothing_that_runs_must_not_share(tmp_path: Path) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not show threads")
    (tmp_path / ".env").write_text("DAILIES_ASSET_GROUP=films\n")
    environment = {name: value for name, value in os.environ.items() if name != "DAILIES_ENV_FILE"}
    said = subprocess.run(
        [sys.executable, "-c", LOOKS_AT_THE_FORK_SERVER, str(Path(__file__).parent)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(said.stdout)
    packages = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/usr", "/etc", "/proc", "/dev")
    # a number is an open file
    others = {name for name in found.pop("files") if not (name.startswith(packages) or name.isdigit())}
    # our names in Dagster, which name the assets when their modules are imported; see `run_workers._importable`
    assert {Path(name).name for name in others} == {".env"}
    assert found == {
        "threads": 1,
        "descriptors": [],
        "generators": 0,
        "connections": [],
        "modules": [],
        "caches": ["resources.dagster_names.dagster_names"],
    }


def test_a_worker_is_known_by_its_title_since_its_command_is_its_parents(workers: RunWorkers) -> None:
    title, parent, has_definitions = answer_of(workers, title_and_parent)
    command = tuple(filter(None, Path(f"/proc/{parent}/cmdline").read_text().split("\0")))
    assert Path(forkserver._forkserver._forkserver_address).parent == Path(tempfile.gettempdir())  # type: ignore[attr-defined]
    assert name_of(Process(2, parent, "a", command, title)) == "run worker"
    assert name_of(Process(parent, 1, "a", command, "python")) == "fork server"
    assert not has_definitions


def test_what_is_left_for_the_end_of_the_process_is_done(workers: RunWorkers, tmp_path: Path) -> None:
    answer_of(workers, leave_at_exit, str(tmp_path / "done"))
    assert (tmp_path / "done").exists()


def asleep(workers: RunWorkers) -> tuple[BaseProcess, int]:
    """A worker, and its fork server."""
    answers = workers.Queue()
    worker = workers.Process(target=sleep, args=[answers])
    assert isinstance(worker, RunWorker)
    worker.start()
    return worker, int(answers.get(timeout=SECONDS))


def test_the_fork_server_outlives_a_signal_that_ends_its_workers(workers: RunWorkers) -> None:
    worker, parent = asleep(workers)
    os.kill(parent, signal.SIGTERM)
    worker.terminate()
    worker.join(SECONDS)
    assert worker.exitcode == -signal.SIGTERM
    assert asleep_again(workers) == parent


def test_a_worker_that_starts_a_process_is_not_ended_ten_minutes_later(workers: RunWorkers) -> None:
    assert answer_of(workers, start_a_child) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("new_server")
def test_the_fork_server_ends_when_it_has_nothing_to_do(workers: RunWorkers) -> None:
    worker, parent = asleep(workers)
    os.kill(parent, signal.SIGALRM)
    worker.kill()
    worker.join(SECONDS)
    assert asleep_again(workers) == parent
    address = Path(forkserver._forkserver._forkserver_address)  # type: ignore[attr-defined]
    handle = os.pidfd_open(parent)
    os.kill(parent, signal.SIGALRM)
    until(lambda: not address.exists())
    # a run that comes now is not forked by a process that is about to end
    assert answer_of(workers, title_and_parent)[1] == os.getpid()
    os.kill(parent, signal.SIGALRM)
    assert multiprocessing.connection.wait([handle], SECONDS) == [handle]
    os.close(handle)
    assert asleep_again(workers) != parent


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def asleep_again(workers: RunWorkers) -> int:
    """The fork server of a further worker, which is ended."""
    worker, parent = asleep(workers)
    worker.kill()
    worker.join(SECONDS)
    assert worker.exitcode == -signal.SIGKILL
    return parent


@pytest.mark.slow
@pytest.mark.usefixtures("new_server")
def test_a_worker_ends_with_a_killed_fork_server_and_the_next_has_a_new_one(workers: RunWorkers) -> None:
    worker, parent = asleep(workers)
    assert worker.pid is not None
    handle = os.pidfd_open(worker.pid)
    os.kill(parent, signal.SIGKILL)
    worker.join(SECONDS)
    # nobody is left who knows how it ended; Dagster takes it for dead
    assert worker.exitcode == 255
    assert multiprocessing.connection.wait([handle], SECONDS) == [handle]
    os.close(handle)
    assert asleep_again(workers) != parent


def test_after_an_edit_or_another_environment_runs_start_as_new_processes(
    workers: RunWorkers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kind() -> type[BaseProcess]:
        return type(workers.Process(target=print))

    assert kind() is RunWorker
    with monkeypatch.context() as changed:
        changed.setitem(VARIABLES, "HTTPS_PROXY", "http://proxy:3128")
        assert kind() is SpawnProcess
    assert kind() is RunWorker
    with monkeypatch.context() as changed:
        (tmp_path / ".env").write_text("DAILIES_ASSET_PREFIX=video\n")
        changed.delenv("DAILIES_ASSET_PREFIX", raising=False)
        changed.chdir(tmp_path)
        changed.delenv("DAILIES_ENV_FILE", raising=False)
        assert kind() is SpawnProcess

    for package in run_workers.PACKAGES:
        (tmp_path / package / "deep").mkdir(parents=True)
    edited = tmp_path / "resources" / "deep" / "rules.py"
    edited.write_text("CAP = 1\n")
    monkeypatch.setattr(run_workers, "program_root", lambda: tmp_path)
    there = RunWorkers()
    assert type(there.Process(target=print)) is RunWorker
    (tmp_path / "resources" / "notes.txt").touch()
    assert type(there.Process(target=print)) is RunWorker
    edited.write_text("CAP = 20\n")
    assert type(there.Process(target=print)) is SpawnProcess


def test_after_a_package_was_updated_runs_start_as_new_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_workers, "_environment", dict)
    monkeypatch.setattr(sysconfig, "get_path", lambda _kind: str(tmp_path))
    installed = tmp_path / "boto3-1.40.0.dist-info"
    installed.mkdir()
    workers = RunWorkers()
    (tmp_path / "__pycache__").mkdir()
    assert type(workers.Process(target=print)) is RunWorker
    installed.rename(tmp_path / "boto3-1.41.0.dist-info")
    assert type(workers.Process(target=print)) is SpawnProcess


@pytest.mark.slow
@pytest.mark.usefixtures("new_server")
def test_without_a_fork_server_runs_start_as_new_processes(
    workers: RunWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_files: object) -> None:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(forkserver, "connect_to_new_process", refuse)
    title, parent, _ = answer_of(workers, title_and_parent)
    assert (title == "dailies-run", parent) == (False, os.getpid())
    assert "cannot be reached (connection refused), so this run starts slowly" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("new_server")
def test_a_fork_server_that_does_not_answer_is_ended_and_the_next_run_starts(
    workers: RunWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunWorker, "lost", 0)
    answer_of(workers, title_and_parent)
    stopped = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(stopped, signal.SIGSTOP)
    with monkeypatch.context() as hurried:
        hurried.setattr(run_workers, "START_SECONDS", 0.5)
        with pytest.raises(EOFError):
            answer_of(workers, title_and_parent)
    assert answer_of(workers, title_and_parent)[1] not in {stopped, os.getpid()}, "another fork server"


@pytest.mark.slow
def test_beside_an_agent_with_a_thread_in_every_process_runs_start_as_new_processes(
    workers: RunWorkers, new_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork server refuses to fork with a thread and ends. No run started, so nothing that was paid for was fetched."""
    agent = "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()\n"
    new_server.write_text(IMPORTS_LITTLE + agent)
    monkeypatch.setattr(RunWorker, "lost", 0)
    for _ in range(run_workers.MOST_LOST):
        with contextlib.suppress(EOFError):
            answer_of(workers, title_and_parent)
    assert answer_of(workers, title_and_parent)[1] == os.getpid()
    new_server.write_text(IMPORTS_LITTLE)
    monkeypatch.setattr(RunWorker, "lost", 0)
    assert answer_of(workers, title_and_parent)[1] != os.getpid()


def test_dagster_starts_runs_and_the_code_by_the_names_that_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Dagster renames them, runs are only slower."""
    assert {"_mp_ctx", "Process", "Queue", "Event"} <= set(server.DagsterApiServer.StartRun.__code__.co_names)
    assert "get_python_environment_entry_point" in server.open_server_process.__code__.co_names
    command = code_server._this_module(sys.executable)
    monkeypatch.setattr(
        server.DagsterApiServer, "__init__", lambda self, given: setattr(self, "given", given)
    )
    run_workers.fork_run_workers()
    made: Any = server.DagsterApiServer("given")  # type: ignore[arg-type, call-arg]
    assert made.given == "given"
    assert isinstance(made._mp_ctx, RunWorkers)
    assert command == [sys.executable, "-m", "pipelines.code_server"]
