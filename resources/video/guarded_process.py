"""The child's side of a guarded worker: limits, confinement, and one JSON object per line.

It has no secrets in its environment, limits its own memory and processor time, gives up every right that it does not need
(`resources.video.confinement`), and opens no file itself: requests come through the socket that is its standard input, with their
open files. It says `{"ready": true, "confined": [...]}`, and then answers each request.
"""

import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from resources.video.confinement import confine

MEMORY_BYTES = 2 << 30
"""Address space of the process, in bytes."""
WRITTEN_BYTES = 1 << 20
"""The largest file that a worker can write, unless it says otherwise."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Asks the parent something while it waits for an answer."""
Answer = Callable[[dict[str, Any], list[BinaryIO], Ask], dict[str, Any]]
"""The answer to a request with its files."""


def serve(answer: Answer, known: tuple[type[Exception], ...], *, written_bytes: int = WRITTEN_BYTES) -> None:
    """Answer requests until the parent closes the socket. Every error becomes an answer.

    Args:
        known: Errors whose text is a sentence for a person.
        written_bytes: The largest file that it writes.
    """
    limit_resources(written_bytes)
    answers = _own_output()
    requests = _Requests(socket.socket(fileno=0))

    def say(answer_sent: dict[str, Any]) -> None:
        answers.write(json.dumps(answer_sent).encode() + b"\n")
        answers.flush()

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        say(question)
        reply, _ = next(requests)
        return reply

    say({"ready": True, "confined": confine()})
    for request, files in requests:
        with contextlib.ExitStack() as opened:
            for file in files:
                opened.enter_context(file)
            answer_sent = _attempted(answer, known, request, files, ask)
        # the caller relies on its files being closed here once it has the answer
        say(answer_sent | {"memory_bytes": _memory()})


def _attempted(
    answer: Answer,
    known: tuple[type[Exception], ...],
    request: dict[str, Any],
    files: list[BinaryIO],
    ask: Ask,
) -> dict[str, Any]:
    _limit_processor(request["cpu_seconds"])
    try:
        return answer(request, files, ask)
    except known as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"reading it needs more than {MEMORY_BYTES >> 20:,} MB of memory"}
    except OSError as error:
        return {"error": f"it cannot be read: {error.strerror}"}
    except Exception as error:  # noqa: BLE001  # a stranger's file may make anything of ours or of a library raise
        return {"error": f"reading it fails with {type(error).__name__}"}


class _Requests(Iterator[tuple[dict[str, Any], list[BinaryIO]]]):
    """Every request with its files, until the parent closes the socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._asked = channel

    def __next__(self) -> tuple[dict[str, Any], list[BinaryIO]]:
        waiting, files = bytearray(), []
        while not waiting.endswith(b"\n"):
            data, more, _, _ = socket.recv_fds(self._asked, 1 << 16, 4)
            files += more
            waiting += data
            if not data:
                raise StopIteration
        request = json.loads(waiting)
        modes = request.get("files", [])
        return request, [os.fdopen(number, mode) for number, mode in zip(files, modes, strict=True)]


def _memory() -> int:
    """Bytes in use. Not ru_maxrss, which starts with the parent's use at the fork."""
    try:
        pages = int(os.pread(_STATM, 100, 0).split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _opened(path: str) -> int:
    """The open file of this process's memory statistics, opened before files are forbidden; -1 if there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


_STATM = _opened("/proc/self/statm")


def _limit_processor(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (limit if most == resource.RLIM_INFINITY else min(limit, most), most)
    )


def limit_resources(written_bytes: int = WRITTEN_BYTES) -> None:
    """Give up memory, files and core dumps that are not needed; they do not come back."""
    if sys.platform != "darwin":  # which refuses this limit
        _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, written_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 64)


def _limit(resource_id: int, value: int) -> None:
    _, most = resource.getrlimit(resource_id)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(resource_id, (value, value))


def _own_output() -> BinaryIO:
    """Keep standard output for answers: text that a library prints is dropped."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers
