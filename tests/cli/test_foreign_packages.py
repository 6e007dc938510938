"""Another `resources` package is first on the path: every entry point of dailies refuses it with a clear sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OURS = {
    "the command": [str(BIN / "dailies"), "room"],
    "the webserver": [sys.executable, "-m", "pipelines.webserver", "workspace.yaml", "3000"],
    "the daemon": [sys.executable, "-m", "pipelines.daemon", "workspace.yaml"],
    "the room": [sys.executable, "-m", "pipelines.cli.room", "3030"],
    "the code server": [sys.executable, "-m", "pipelines.code_server", "code-server", "start"],
}


def entered(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = f"{folder}{os.pathsep}{PROGRAM}"
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "__init__.py").write_text('WAREHOUSE = "theirs"\n')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_own_processes_end_with_one_sentence(folder: Path, name: str) -> None:
    done = entered(folder, OURS[name])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"dailies: the package `resources` is {folder / 'resources' / '__init__.py'}, not dailies' own"
    )
    assert "Nothing was bought" in line


@pytest.mark.slow
def test_dagster_gets_an_error_that_it_can_show(folder: Path) -> None:
    done = entered(folder, [sys.executable, "-c", "import pipelines.definitions"])
    assert done.returncode == 1
    assert "ImportError: the package `resources` is" in done.stderr


@pytest.mark.slow
def test_a_folder_of_that_name_without_code_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    done = entered(tmp_path, [str(BIN / "dailies"), "--version"])
    assert done.returncode == 0
