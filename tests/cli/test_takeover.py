"""One `dailies up` per home, and none of its processes outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cli import takeover
from pipelines.cli.stack_state import LOCK_FILE, running_stack
from pipelines.cli.supervision import DEATHS, CodeWatch, Deaths
from pipelines.cli.takeover import hand_over, only_stack, pid_of, take_claims, take_over
from resources import processes
from resources.errors import ConfigurationError
from resources.keeper import release_keeper, start_keeper
from resources.ledger import heartbeats
from resources.ledger.ledger import process_name
from resources.processes import end, is_living, of_home, started_at
from resources.settings import Settings, open_ledger
from resources.variables import STACK

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="marks are shown by Linux only")

SLEEPS = "import time; print(flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
PARENT = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)
UP = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from pipelines.cli.takeover import only_stack\n"
    "with only_stack(Path(sys.argv[1]), 'http://127.0.0.1:3999'):\n"
    "    print(flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes with a stack's mark; all end with the test."""
    processes = []

    def start(program: str, *arguments: str, mark: str | None = None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **({STACK: mark} if mark is not None else {})}
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], env=environment, stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout is not None
        process.said = process.stdout.readline()  # type: ignore[attr-defined]
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not done():
        assert time.monotonic() < give_up, "the condition did not hold in time"
        time.sleep(0.02)


def test_a_second_stack_of_a_home_is_refused_while_the_first_lives(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "LOCK_PATIENCE_SECONDS", 0.0)
    first = started(UP, str(tmp_path))
    told = rf"already running here \(process {first.pid}, .*:3999\)"
    with pytest.raises(ConfigurationError, match=told), only_stack(tmp_path, "http://127.0.0.1:4000"):
        pytest.fail("two stacks hold one home")
    # the lock's content is written after the lock is taken, and removed before it is released
    (tmp_path / LOCK_FILE).write_text("")
    now = "starts or ends in .* at this moment. Nothing was started"
    with pytest.raises(ConfigurationError, match=now), only_stack(tmp_path, "http://127.0.0.1:4000"):
        pytest.fail("two stacks hold one home")
    first.kill()
    first.wait()
    with only_stack(tmp_path, "http://127.0.0.1:4000"):
        pass


def test_a_process_with_the_id_of_a_killed_stack_is_not_taken_for_it(tmp_path: Path) -> None:
    state = {"pid": os.getpid(), "dagster_url": "-", "started_at": started_at(os.getpid())}
    (tmp_path / "stack.json").write_text(json.dumps(state))
    assert running_stack(tmp_path) == state
    (tmp_path / "stack.json").write_text(json.dumps({**state, "started_at": "1"}))
    assert running_stack(tmp_path) is None


def test_marked_processes_and_their_children_are_found_and_no_others(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    parent = started(PARENT, mark=f"a:{tmp_path}")
    child = int(parent.said)  # type: ignore[attr-defined]
    deaf = started(DEAF, mark=f"b:{tmp_path}")
    others = [started(SLEEPS), started(SLEEPS, mark=f"a:{tmp_path}/else")]
    found = {process.pid: process for process in of_home(tmp_path)}
    assert set(found) == {parent.pid, child, deaf.pid}
    assert found[child].parent == parent.pid
    assert {process.pid for process in end(found.values(), tmp_path, seconds=0.5)} == set(found)
    assert of_home(tmp_path) == []
    assert not is_living(child)
    assert all(other.poll() is None for other in others)


def test_a_containers_process_whose_home_has_our_path_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host of a container sees the container's processes; an equal path does not mean the same folder."""
    home, proc = tmp_path / "home", tmp_path / "proc"
    home.mkdir()

    def shown(name: str, mounts: str, root: Path) -> None:
        (proc / name / "ns").mkdir(parents=True)
        (proc / name / "ns" / "mnt").symlink_to(mounts)
        (proc / name / "root").symlink_to(root)
        (proc / name / "environ").write_bytes(f"{STACK}=a:{home}".encode())
        (proc / name / "stat").write_text(f"{name} (python) S 1 1 1")
        (proc / name / "cmdline").write_bytes(b"python\0")
        (proc / name / "comm").write_text("python\n")

    container = tmp_path / "container"
    (container / home.relative_to("/")).mkdir(parents=True)
    shown("self", "mnt:[1]", Path("/"))
    shown("901", "mnt:[1]", Path("/"))
    shown("902", "mnt:[2]", container)
    # the same folder, mounted into a container
    shown("903", "mnt:[3]", Path("/"))
    monkeypatch.setattr(processes, "_PROC", proc)
    assert {process.pid for process in of_home(home)} == {901, 903}


def test_a_frozen_process_is_ended_too(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    stopped = started(SLEEPS, mark=f"a:{tmp_path}")
    stopped.send_signal(signal.SIGSTOP)
    end(of_home(tmp_path), tmp_path, seconds=120)
    assert stopped.wait(120) == -signal.SIGTERM


def test_a_killed_stacks_processes_end_with_their_keeper_and_no_others(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    mark = f"a:{tmp_path}"
    left, other = started(PARENT, mark=mark), started(SLEEPS, mark=f"b:{tmp_path}")
    keeper = start_keeper(tmp_path, "a", {**os.environ, STACK: mark})
    assert keeper.stdin is not None
    time.sleep(0.2)
    assert left.poll() is None
    release_keeper(keeper)
    until(lambda: left.poll() is not None)
    assert {process.pid for process in of_home(tmp_path)} == {other.pid}


def test_a_stack_ends_the_processes_of_the_one_before_it(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    settings = Settings(DAILIES_HOME=tmp_path)
    left = started(SLEEPS, mark=f"old:{tmp_path}")
    owner = process_name().split(":")
    with open_ledger(settings) as ledger:
        heartbeats.begin(ledger, "a-dead-run", f"{owner[0]}:{left.pid}:x")
        heartbeats.begin(ledger, "elsewhere", f"another-host:{left.pid}:x")
        heartbeats.begin(ledger, "alive", ":".join(owner))
    (tmp_path / "stack.json").write_text(json.dumps({"pid": left.pid}))
    said: list[str] = []
    take_over(settings, tmp_path, tmp_path / "dagster", log=said.append)
    assert left.wait(120) == -signal.SIGTERM
    assert not (tmp_path / "stack.json").exists()
    assert "ended processes that an earlier dailies of this home had left" in said[0]
    assert str(left.pid) in said[0]
    with open_ledger(settings) as ledger:
        take_claims(ledger)
        assert set(heartbeats.owners(ledger)) == {"elsewhere", "alive"}


def test_working_runs_hand_over_and_their_clips_are_reported(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    settings = Settings(DAILIES_HOME=tmp_path)
    worker = started(SLEEPS, mark=f"mine:{tmp_path}")
    server = started(SLEEPS, mark=f"mine:{tmp_path}")
    host = process_name().split(":")[0]
    said: list[str] = []
    hand_over(settings, tmp_path, "mine", log=said.append)
    assert said == []
    with open_ledger(settings) as ledger:
        heartbeats.begin(ledger, "a-run", f"{host}:{worker.pid}:x")
    hand_over(settings, tmp_path, "mine", log=said.append)
    assert worker.wait(120) == -signal.SIGTERM
    assert server.poll() is None
    assert "until active runs hand over: a-run" in said[0]
    assert said[1] == "run a-run has handed over. Of its clips: nothing was bought by it"
    assert "the next `dailies up` continues with these clips" in said[2]


@pytest.mark.parametrize(("owner", "pid"), [("another:12:x", None), ("nonsense", None), ("", None)])
def test_a_claim_of_another_machine_names_no_process_here(owner: str, pid: int | None) -> None:
    assert pid_of(owner) is pid
    assert pid_of(process_name()) == os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing tells containers apart elsewhere")
def test_a_claim_of_a_container_with_this_hosts_name_names_no_process_here() -> None:
    """As on the host's own network: its run lives, although its process has no id here."""
    assert pid_of(f"{socket.gethostname()[:24]}:{os.getpid()}:x") is None


def test_a_process_that_dies_again_and_again_is_not_restarted_for_ever() -> None:
    now = 0.0
    deaths = Deaths(lambda: now)
    assert not any(deaths.are_too_many("code") for _ in range(DEATHS))
    assert deaths.are_too_many("code")
    assert not deaths.are_too_many("daemon")
    now += 1000
    assert not deaths.are_too_many("code")


def test_a_missing_code_server_is_noticed_within_two_checks(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    watch = CodeWatch(tmp_path)
    server = started(
        PARENT.replace("'-c'", "'-c'").replace(f"{SLEEPS!r}]", f"{SLEEPS!r}, 'grpc']"), mark=f"a:{tmp_path}"
    )
    holder = int(server.said)  # type: ignore[attr-defined]
    assert not watch.is_gone(1), "another code server may still be loading the code"
    assert not watch.is_gone(server.pid)
    os.kill(holder, signal.SIGKILL)
    until(lambda: not is_living(holder))
    assert [watch.is_gone(server.pid) for _ in range(2)] == [False, True]
