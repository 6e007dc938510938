"""The process that outlives `dailies up` and ends its remaining processes: `python -m resources.keeper HOME STACK`.

The kernel ends the children of a process with it, but not their children: after a `kill -9` of `up`, the code server and its run
workers ran on for minutes against a dead S3. The keeper waits until its input ends, which `up` keeps open while it lives, and
then ends every process with the stack's mark.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from resources.processes import end, of_home

SECONDS = 20.0
"""Seconds for remaining processes to end: a run hands over its clips, and a POST in flight gets its answer."""


def start_keeper(home: Path, stack: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the keeper of a stack. Unlike other children it must not end with us."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "resources.keeper", str(home), stack],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def release_keeper(keeper: "subprocess.Popen[bytes]") -> None:
    """Let the keeper end the remaining processes, and wait for its own end."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        keeper.wait(2 * SECONDS)


def main(home: Path, stack: str) -> None:
    """Wait until `up` has ended, and end its remaining processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(3):
        # processes that start meanwhile are found in the next round
        left = [process for process in of_home(home) if process.stack == stack]
        if not left:
            return
        end(left, home, seconds=SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
