"""Child processes of a proof: each ends with its parent, and is ended by its id."""

import contextlib
import subprocess
from pathlib import Path

from resources.processes import child_setup

ROOT = Path(__file__).parents[1]


def start(command: list[str], log: Path, *, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start a process with a log for its errors and a pipe for its output."""
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


def end(process: "subprocess.Popen[bytes]", *, politely: bool = True) -> None:
    """End a process and close its pipes."""
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
