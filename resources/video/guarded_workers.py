"""The parent's side of guarded workers: each process starts once, serves many files, and is killed when it misbehaves."""

import base64
import binascii
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import resources
from resources.errors import UnavailableError
from resources.video.confinement import LAYERS
from resources.video.facts import UnreadableVideoError

_MAX_ANSWER = 8 << 20
_MAX_QUESTIONS = 4
_START_SECONDS = 30

Sign = Callable[[bytes], bytes]
"""The signature of some bytes."""


class GuardedWorkers:
    """Some worker processes of one module. Threads may share it."""

    def __init__(
        self,
        module: str,
        *,
        workers: int = 1,
        seconds: float = 90,
        cpu_seconds: float = 40,
        files_per_worker: int = 200,
        max_worker_bytes: int = 400_000_000,
    ) -> None:
        """Configure the workers; each starts with its first request.

        Args:
            module: The module that they run, which calls `resources.video.guarded_process.serve`.
            workers: The number of requests that are answered at once.
            seconds: Wall-clock limit for one request.
            cpu_seconds: Processor limit for one request.
            files_per_worker: The number of requests after which a worker is replaced.
            max_worker_bytes: A worker that uses more memory after a request is replaced.
        """
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._files_per_worker = files_per_worker
        self._max_worker_bytes = max_worker_bytes
        self._closed = False
        self.idle: queue.LifoQueue[GuardedWorker] = queue.LifoQueue()
        for _ in range(workers):
            self.idle.put(GuardedWorker(module))

    def confinement(self) -> list[str]:
        """The layers of `resources.video.confinement.LAYERS` that hold on this machine. Starts a worker if none runs. Blocks.

        Raises:
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        worker = self.idle.get()
        try:
            return worker.confined()
        finally:
            if self._closed:
                worker.stop()
            self.idle.put(worker)

    def ask(
        self, request: dict[str, Any], name: str, files: Sequence[BinaryIO] = (), *, sign: Sign | None = None
    ) -> dict[str, Any]:
        """A worker's answer. A request that kills two workers is blamed for it. Blocks: run it in a thread.

        Args:
            request: Plain values.
            name: The file's name in errors.
            files: Open files for the worker, each with the rights that it is open with.
            sign: Makes the signature that a worker asks for; a private key never reaches a worker.

        Raises:
            UnreadableVideoError: The file takes too long, or makes the worker crash.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        request |= {"cpu_seconds": self._cpu_seconds, "files": [file.mode for file in files]}
        worker = self.idle.get()
        try:
            # something else may have killed a worker that dies once
            answer = worker.ask(request, self._seconds, name, files, sign)
            if answer is None:
                answer = worker.ask(request, self._seconds, name, files, sign)
            if answer is None:
                raise UnreadableVideoError(f"{name}: reading it makes the decoder crash")
            if (
                worker.asked >= self._files_per_worker
                or _count(answer, "memory_bytes") > self._max_worker_bytes
            ):
                worker.stop()
        finally:
            if self._closed:
                worker.stop()
            self.idle.put(worker)
        return answer

    @property
    def pids(self) -> list[int]:
        """Process ids of idle workers."""
        return [pid for worker in list(self.idle.queue) if (pid := worker.pid) is not None]

    def close(self) -> None:
        """End the workers; a busy worker ends after its file."""
        self._closed = True
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self.idle.get_nowait())
        for worker in idle:
            worker.stop()
            self.idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GuardedWorker:
    """One worker process; started by its first request, and again after it has ended."""

    def __init__(self, module: str) -> None:
        self.asked = 0
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._confined: list[str] = []

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    def confined(self) -> list[str]:
        """The layers that its process reports."""
        self._started()
        return self._confined

    def ask(
        self,
        request: dict[str, Any],
        seconds: float,
        name: str,
        files: Sequence[BinaryIO] = (),
        sign: Sign | None = None,
    ) -> dict[str, Any] | None:
        """The worker's answer; None if the worker died, an error if it was killed for taking too long."""
        process = self._started()
        self.asked += 1
        timer = _Timer(seconds, process)
        try:
            answer = self._exchange(process, request, files, sign)
        finally:
            timer.cancel()
        if answer is not None:
            return answer
        self.stop()
        if timer.fired:
            raise UnreadableVideoError(f"{name}: reading it takes longer than {seconds:g} s")
        if process.returncode == -signal.SIGXCPU:
            raise UnreadableVideoError(
                f"{name}: reading it takes more than {request['cpu_seconds']:g} s of a processor"
            )
        return None

    def stop(self) -> None:
        """End the process at once."""
        process, self._process, self.asked = self._process, None, 0
        requests, self._requests = self._requests, None
        if process is not None:
            process.kill()
            process.wait()
        for pipe in (requests, process.stdout if process is not None else None):
            if pipe is not None:
                _close_quietly(pipe)

    def _exchange(
        self,
        process: "subprocess.Popen[bytes]",
        request: dict[str, Any],
        files: Sequence[BinaryIO],
        sign: Sign | None,
    ) -> dict[str, Any] | None:
        if self._requests is None or process.stdout is None:
            return None
        data = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._requests, [data], [file.fileno() for file in files])
            self._requests.sendall(data[sent:])
            for _ in range(_MAX_QUESTIONS):
                answer = _object(process.stdout.readline(_MAX_ANSWER))
                if answer is None or sign is None or "to_sign" not in answer:
                    return answer
                signature = sign(base64.b64decode(str(answer["to_sign"]), validate=True))
                reply = {"signature": base64.b64encode(signature).decode()}
                self._requests.sendall(json.dumps(reply).encode() + b"\n")
        except (OSError, binascii.Error):
            return None
        return None

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._requests, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as errors, theirs:
            process = subprocess.Popen(  # noqa: S603  # our own module, arguments as a list
                [sys.executable, "-P", "-m", self._module],
                env=_environment(),
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            self._process = process
            timer = _Timer(_START_SECONDS, process)
            ready = _ready(process.stdout.readline(1000) if process.stdout else b"")
            timer.cancel()
            if ready is None:
                self.stop()
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise UnavailableError(
                    f"the process that looks at videos does not start: {last or 'it said nothing'}. Is everything installed?"
                )
            self._confined = ready
        return process


class _Timer:
    """Kills a process after some seconds, unless it is cancelled."""

    def __init__(self, seconds: float, process: "subprocess.Popen[bytes]") -> None:
        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()


def _ready(line: bytes) -> list[str] | None:
    """The layers that a worker reports when it is ready; None for any other answer."""
    message = _object(line)
    if message is None or message.get("ready") is not True:
        return None
    named = message.get("confined")
    return [layer for layer in LAYERS if layer in named] if isinstance(named, list) else []


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a whole line; None for anything else."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _environment() -> dict[str, str]:
    """The variables that Python needs to find itself and our modules; no keys."""
    places = [str(Path(resources.__file__).parents[1]), *filter(None, sys.path)]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), "PYTHONUTF8": "1", **kept}


def _count(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    return value if isinstance(value, int) else 0


def _close_quietly(pipe: Any) -> None:
    with contextlib.suppress(OSError):  # nobody reads the rest of the request
        pipe.close()
