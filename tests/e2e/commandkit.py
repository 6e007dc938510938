"""The command `dailies`, in this process or in a separate one."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

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


def run_apart(
    *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process, from a folder."""
    return subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
