"""A process of one of our modules that prints JSON, a line at a time."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resources.errors import UnavailableError

STOP_SECONDS = 20


@contextlib.contextmanager
def module_process(module: str, options: Sequence[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run one of our modules as a process for the block, and end it by its id."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def line_of(process: "subprocess.Popen[bytes]", log: Path) -> Any:
    """The next line that a process prints, which is JSON.

    Raises:
        UnavailableError: The process has ended; the text has the end of its log.
    """
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise UnavailableError(f"{process.args!r} has ended: {log.read_text(errors='replace')[-500:]}")
    return json.loads(line)
