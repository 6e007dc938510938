"""Inspection of clips in guarded worker processes: each starts once, serves many clips, and is killed when it misbehaves."""

import atexit
import base64
import binascii
import contextlib
import functools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

import resources
from resources.errors import UnavailableError
from resources.video.confinement import LAYERS
from resources.video.facts import Inspection, Looked, UnreadableVideoError, VideoFacts

_MAX_ANSWER = 8 << 20
_START_SECONDS = 30


class VideoInspector:
    """Inspects files in one or several worker processes. Threads may share it."""

    def __init__(
        self,
        *,
        workers: int = 1,
        seconds: float = 90,
        cpu_seconds: float = 40,
        clips_per_worker: int = 200,
        max_worker_bytes: int = 400_000_000,
    ) -> None:
        """Configure the workers; each starts with its first clip.

        Args:
            workers: The number of clips that are inspected at once.
            seconds: Wall-clock limit for one clip.
            cpu_seconds: Processor limit for one clip; after half of it, watching the clip ends early.
            clips_per_worker: The number of clips after which a worker is replaced.
            max_worker_bytes: A worker that uses more memory after a clip is replaced.
        """
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._clips_per_worker = clips_per_worker
        self._max_worker_bytes = max_worker_bytes
        self._closed = False
        self._workers: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._workers.put(_Worker())

    def inspect(self, path: Path, *, poster_width: int = 480, shortest_seconds: float = 0.0) -> Inspection:
        """Inspect a file. Blocks: run it in a thread.

        Args:
            path: A local MP4.
            poster_width: Pixels; a smaller picture is not enlarged.
            shortest_seconds: The shortest black or still stretch that counts: shorter ones need not be found, which is
                cheaper where key frames are close.

        Raises:
            UnreadableVideoError: The file is damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        try:
            with path.open("rb") as file:
                wanted = {"poster_width": poster_width, "shortest_seconds": shortest_seconds}
                answer = self._ask(wanted, path.name, file)
        except OSError as error:
            raise UnreadableVideoError(f"{path.name}: it cannot be read: {error.strerror}") from None
        return _understood(answer, path.name)

    def seconds_of(self, file: BinaryIO, name: str) -> float:
        """The duration of a video's picture in seconds, by the times of its packets; nothing is decoded. Blocks.

        Args:
            name: The file's name in errors.

        Raises:
            UnreadableVideoError: The file is no video, damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        answer = self._ask({"measure": True}, name, file)
        seconds = answer.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise UnreadableVideoError(f"{name}: {str(answer.get('error', 'it makes no sense'))[:300]}")
        return float(seconds)

    def confinement(self) -> list[str]:
        """The layers of `resources.video.confinement.LAYERS` that hold on this machine. Starts a worker if none runs. Blocks.

        Raises:
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        worker = self._workers.get()
        try:
            return worker.confined()
        finally:
            if self._closed:
                worker.stop()
            self._workers.put(worker)

    def compose(self, posters: list[bytes], failed: list[bool]) -> bytes:
        """A contact sheet of some posters, as WebP. Blocks: run it in a thread.

        Args:
            posters: WebP pictures, at most `resources.video.sheets.MOST`.
            failed: Whether each poster gets a red frame.

        Raises:
            UnreadableVideoError: A poster is damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        texts = [base64.b64encode(poster).decode() for poster in posters]
        answer = self._ask({"posters": texts, "failed": failed}, "the contact sheet")
        try:
            sheet = _picture(answer.get("sheet"))
        except (binascii.Error, TypeError, ValueError):
            sheet = None
        if sheet is None:
            raise UnreadableVideoError(
                f"the contact sheet: {str(answer.get('error', 'it makes no sense'))[:300]}"
            )
        return sheet

    def _ask(self, request: dict[str, Any], name: str, file: BinaryIO | None = None) -> dict[str, Any]:
        """A worker's answer. A request that kills two workers is blamed for it."""
        request |= {"cpu_seconds": self._cpu_seconds, "file": file is not None}
        worker = self._workers.get()
        try:
            # something else may have killed a worker that dies once
            found = worker.ask(request, self._seconds, name, file)
            if found is None:
                found = worker.ask(request, self._seconds, name, file)
            if found is None:
                raise UnreadableVideoError(f"{name}: reading it makes the decoder crash")
            if (
                worker.clips >= self._clips_per_worker
                or _count(found, "memory_bytes") > self._max_worker_bytes
            ):
                worker.stop()
        finally:
            if self._closed:
                worker.stop()
            self._workers.put(worker)
        return found

    @property
    def pids(self) -> list[int]:
        """Process ids of idle workers."""
        return [pid for worker in list(self._workers.queue) if (pid := worker.pid) is not None]

    def close(self) -> None:
        """End the workers; a busy worker ends after its clip."""
        self._closed = True
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._workers.get_nowait())
        for worker in idle:
            worker.stop()
            self._workers.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One worker process; started by its first request, and again after it has ended."""

    def __init__(self) -> None:
        self.clips = 0
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
        self, request: dict[str, Any], seconds: float, name: str, file: BinaryIO | None = None
    ) -> dict[str, Any] | None:
        """The worker's answer; None if the worker died, an error if it was killed for taking too long."""
        process = self._started()
        self.clips += 1
        timer = _Timer(seconds, process)
        try:
            line = self._exchange(process, request, file)
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if isinstance(answer, dict):
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
        process, self._process, self.clips = self._process, None, 0
        requests, self._requests = self._requests, None
        if process is not None:
            process.kill()
            process.wait()
        for pipe in (requests, process.stdout if process is not None else None):
            if pipe is not None:
                _close_quietly(pipe)

    def _exchange(
        self, process: "subprocess.Popen[bytes]", request: dict[str, Any], file: BinaryIO | None
    ) -> bytes:
        if self._requests is None or process.stdout is None:
            return b""
        data = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._requests, [data], [] if file is None else [file.fileno()])
            self._requests.sendall(data[sent:])
            return process.stdout.readline(_MAX_ANSWER)
        except OSError:
            return b""

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._requests, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as said, theirs:
            process = subprocess.Popen(  # our own module, arguments as a list
                [sys.executable, "-P", "-m", "resources.video.worker"],
                env=_environment(),
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
            self._process = process
            timer = _Timer(_START_SECONDS, process)
            ready = _ready(process.stdout.readline(1000) if process.stdout else b"")
            timer.cancel()
            if ready is None:
                self.stop()
                said.seek(0)
                last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise UnavailableError(
                    f"the process that looks at videos does not start: {last or 'it said nothing'}. Is PyAV installed?"
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


def own_inspector() -> VideoInspector:
    """The inspector of this process; its worker starts with the first video and ends with the process."""
    return _own_inspector(os.getpid())


def inspect_video(path: Path, *, poster_width: int = 480) -> Inspection:
    """Inspect one file with the inspector of this process; see `VideoInspector.inspect`."""
    return own_inspector().inspect(path, poster_width=poster_width)


@functools.cache
def _own_inspector(_pid: int) -> VideoInspector:
    # one for each process: a forked child must not use its parent's pipes
    inspector = VideoInspector()
    atexit.register(inspector.close)
    return inspector


def _ready(line: bytes) -> list[str] | None:
    """The layers that a worker reports when it is ready; None for any other answer."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("ready") is not True:
        return None
    named = said.get("confined")
    return [layer for layer in LAYERS if layer in named] if isinstance(named, list) else []


def _environment() -> dict[str, str]:
    """The variables that Python needs to find itself and our modules; no keys."""
    places = [str(Path(resources.__file__).parents[1]), *filter(None, sys.path)]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), "PYTHONUTF8": "1", **kept}


def _understood(answer: dict[str, Any], name: str) -> Inspection:
    """The worker's answer, checked field by field: an attacker may control the worker."""
    if "error" in answer:
        raise UnreadableVideoError(f"{name}: {str(answer['error'])[:300]}")
    try:
        facts = VideoFacts.model_validate(answer.get("video"))
        looked = Looked.model_validate(answer["looked"]) if answer.get("looked") else None
        poster, strip = _picture(answer.get("poster")), _picture(answer.get("strip"))
    except (ValidationError, binascii.Error, TypeError, ValueError):
        raise UnreadableVideoError(f"{name}: what it says of itself makes no sense") from None
    return Inspection(facts, poster, strip, looked)


def _picture(text: str | None) -> bytes | None:
    """A WebP picture; None for anything else."""
    data = base64.b64decode(text, validate=True) if text else b""
    return data if (data[:4], data[8:12]) == (b"RIFF", b"WEBP") else None


def _count(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    return value if isinstance(value, int) else 0


def _close_quietly(pipe: Any) -> None:
    with contextlib.suppress(OSError):  # nobody reads the rest of the request
        pipe.close()
