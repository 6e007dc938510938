"""The bench's processes: the oracle, the nursery and its workers; each ended by its id, however the bench is left."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from proof.faults.clock import Pace
from proof.faults.mischief import Mischief
from resources.processes import child_setup

KEY = "key-of-the-fault-bench"
ROOT = Path(__file__).parents[2]


class Oracle:
    """The provider's process; a context manager.

    Args:
        folder: Of its books and its log.
        film: The MP4.
        pace: The clock.
        mischief: What goes wrong.

    Attributes:
        moments: Moments at which a client may be killed: what it does, and its port.
        urls: Address of each provider.
    """

    def __init__(self, folder: Path, film: Path, pace: Pace, mischief: Mischief) -> None:
        self.folder = folder
        self.moments: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self.urls: dict[str, str] = {}
        (folder / "mischief.json").write_text(json.dumps(asdict(mischief)))
        self._command = [
            *(sys.executable, "-m", "proof.faults.oracle", "--folder", str(folder), "--film", str(film)),
            *("--mischief", str(folder / "mischief.json"), "--key", KEY),
            *("--origin", repr(pace.origin), "--factor", repr(pace.factor)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def books(self) -> Path:
        """Its books."""
        return self.folder / "books.jsonl"

    def __enter__(self) -> Self:
        self._process = process = _start(self._command, self.folder / "oracle.log")
        assert process.stdout is not None
        self.urls = json.loads(process.stdout.readline())
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)

    def tell(self, what: str) -> None:
        """`calm`, `strangers/on` or `strangers/off`."""
        httpx.post(f"{self.urls['wavespeed']}/bench/{what}", timeout=30, trust_env=False).raise_for_status()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self.moments.put((said["moment"], said["port"]))


@dataclass
class Hand:
    """A worker that lives.

    Attributes:
        pid: Its process id.
        task: What it was told.
        since: Real time it was started at.
    """

    pid: int
    task: dict[str, Any]
    since: float


class Crew:
    """The nursery and its workers; a context manager.

    Args:
        place: File that says where everything is.
        logs: Folder for what workers say.

    Attributes:
        hands: Those that live, by process id.
        skews: How wrong the clocks of some were, by process id.
        ended: What ended since the last look: the worker and its exit code.
    """

    def __init__(self, place: Path, logs: Path) -> None:
        self.hands: dict[int, Hand] = {}
        self.skews: dict[int, float] = {}
        self.ended: list[tuple[Hand, int]] = []
        logs.mkdir(exist_ok=True)
        self._command = [
            sys.executable,
            "-m",
            "proof.faults.worker",
            "--place",
            str(place),
            "--logs",
            str(logs),
        ]
        self._log = logs / "nursery.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._tasks: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self._process = process = _start(self._command, self._log, stdin=subprocess.PIPE)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the nursery did not start: {self._log.read_text()[-2000:]}")
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # its workers die with it, by the kernel's word
        _end(self._process, politely=False)

    def start(self, task: dict[str, Any]) -> None:
        """Start a worker; `look` shows it soon."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = len(self._tasks) + 1
        self._tasks[number] = task
        self._process.stdin.write(json.dumps({**task, "id": number}).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def starting(self) -> int:
        """Workers that were asked for and not seen yet."""
        return len([task for task in self._tasks.values() if task])

    def look(self) -> None:
        """Take in who came and went."""
        while not self._said.empty():
            said = self._said.get()
            if "started" in said:
                task, self._tasks[said["task"]] = self._tasks[said["task"]], {}
                self.hands[said["started"]] = Hand(said["started"], task, time.monotonic())
                if task.get("skew"):
                    self.skews[said["started"]] = task["skew"]
            else:
                hand = self.hands.pop(said["ended"])
                self.ended.append((hand, said["code"]))

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))


def _start(command: list[str], log: Path, *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            preexec_fn=child_setup(),  # noqa: PLW1509 - only a C call between fork and exec
        )


def _end(process: subprocess.Popen[bytes] | None, *, politely: bool = True) -> None:
    if process is None:
        return
    if politely:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
