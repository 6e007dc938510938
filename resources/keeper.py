"""The process that outlives `dailies up` and ends what it has left: `python -m resources.keeper HOME STACK`.

The kernel ends only the children of a process with it, not theirs: after a `kill -9` of `up` the process that holds the code and
its run workers went on for minutes against a dead S3. The keeper waits for the end of its input, which `up` holds open as long as it
lives, and then ends every process that bears the stack's mark.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from resources.processes import end, of_home

SECONDS = 20.0
"""How long what is left may take: a run hands its clips over, and a POST on the wire gets a moment."""


def start_keeper(home: Path, stack: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the keeper of a stack. It must not end with us, so it is no child as others are."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "resources.keeper", str(home), stack],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def release_keeper(keeper: "subprocess.Popen[bytes]") -> None:
    """Let the keeper end what is still there, and wait for its end."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        keeper.wait(2 * SECONDS)


def main(home: Path, stack: str) -> None:
    """Wait until `up` has ended, and end what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(3):
        # what was starting meanwhile is found the next time
        left = [process for process in of_home(home) if process.stack == stack]
        if not left:
            return
        end(left, home, seconds=SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
