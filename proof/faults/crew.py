"""The nursery and its workers, which end however the storm is left."""

import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proof.children import end, start


@dataclass
class Hand:
    """A living worker."""

    pid: int
    """Its process id."""
    task: dict[str, Any]
    """Its task."""
    since: float
    """The real time of its start."""


class Crew:
    """The nursery and its workers; a context manager.

    Args:
        place: The file with all addresses and folders.
        logs: The folder for the workers' output.

    Attributes:
        hands: The living workers, by process id.
        skews: The clock errors of some workers, by process id.
        ended: The workers that ended since the last look, with their exit codes.
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
        self._process = process = start(self._command, self._log, stdin=subprocess.PIPE)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the nursery did not start: {self._log.read_text()[-2000:]}")
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # the kernel ends its workers with it
        if self._process is not None:
            end(self._process, politely=False)

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
        """Workers that were requested and have not started yet."""
        return len([task for task in self._tasks.values() if task])

    def look(self) -> None:
        """Record the started and the ended workers."""
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
