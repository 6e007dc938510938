"""The command `dailies`, in this process or in a separate one."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self

import pytest

from pipelines.cli import main
from resources.home import UMASK

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 1200


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: a separate process costs two CPU seconds."""
    out, err = io.StringIO(), io.StringIO()
    # `main` sets the umask of its process
    umask = os.umask(UMASK)
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["dailies", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
    finally:
        os.umask(umask)
    code = ended.value.code
    return subprocess.CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())


def run_apart(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process."""
    return subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", *arguments],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


class CommandProcess:
    """One separate process that runs commands one after another; a context manager. A process for each would cost two CPU seconds.

    Args:
        environment: The environment of the process.
        folder: The folder from which the commands run.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self._environment, self._folder = environment, folder

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE_SECONDS)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command there; the caller waits for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process of the commands has ended during {arguments}"
        code, out, err = json.loads(line)
        return subprocess.CompletedProcess(arguments, code, out, err)


def _serve() -> None:
    """Run the commands of standard input, which no command may read itself."""
    orders = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for line in orders:
        done = run_here(*json.loads(line))
        sys.stdout.write(json.dumps([done.returncode, done.stdout, done.stderr]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
