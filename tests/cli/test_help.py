"""`dailies --help` and `--version` load no library that only a command needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import a_project

from resources.ledger.database import open_database

LOADED = """
import atexit, sys
from pipelines.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


SEVERAL = """
import contextlib, sys
from pipelines.cli import main
for arguments in ("--help", "produce --help", "ledger --help", "--version"):
    sys.argv[1:] = arguments.split()
    with contextlib.suppress(SystemExit):
        main()
    print(*sys.modules, file=sys.stderr)
"""


def test_help_imports_neither_database_nor_dagster_nor_models() -> None:
    ran = subprocess.run([sys.executable, "-c", SEVERAL], capture_output=True, text=True, check=True)
    assert ran.stdout.count("Usage: ") == 3
    heavy = {
        "alembic",
        "av",
        "boto3",
        "dagster",
        "httpx",
        "resources.orders",
        "resources.settings",
        "sqlalchemy",
        "yaml",
    }
    loaded = [set(line.split()) for line in ran.stderr.splitlines()]
    assert len(loaded) == 4
    # Typer itself needs pydantic for the options of a command
    assert (heavy | {"pydantic"}) & loaded[0] == set()
    assert heavy & loaded[-1] == set()


CLIENTS = {"alembic", "av", "boto3", "botocore", "dagster", "h11", "httpcore", "httpx", "stamina", "urllib3"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command, with a home whose ledger exists: Alembic creates a new one only once."""
    home = tmp_path_factory.mktemp("home")
    open_database(f"sqlite:///{home / 'ledger.db'}").dispose()
    return {"PATH": os.environ["PATH"], "DAILIES_HOME": str(home), "DAILIES_ENV_FILE": ""}


def run_code(
    code: str, arguments: tuple[str, ...], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments in another process, without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("check",), CLIENTS | {"sqlalchemy"}),
        (("plan", "product-loop"), CLIENTS | {"sqlalchemy.dialects.postgresql"}),
        (("status",), CLIENTS | {"jinja2", "sqlalchemy.dialects.postgresql"}),
    ],
)
def test_a_command_that_only_reads_imports_no_client(
    environment: dict[str, str], arguments: tuple[str, ...], heavy: set[str]
) -> None:
    ran = run_code(LOADED, arguments, environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
    assert heavy & set(ran.stderr.split()) == set()


ASKED = LOADED.replace(
    "main()", "from pipelines.cli import launch\nlaunch.check_dagster = lambda *_: None\nmain()"
)
"""Continues to the question although no Dagster runs."""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("retry",), 0, "no clip has failed"),
        (("produce", "product-loop"), 2, "without a terminal nobody can be asked"),
    ],
)
def test_the_steps_before_a_launch_do_not_wait_for_dagster(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    ran = run_code(ASKED, arguments, environment)
    assert ran.returncode == code
    assert says in ran.stdout + ran.stderr
    assert {"alembic", "av", "boto3", "dagster"} & set(ran.stderr.split()) == set()


COLLECTED = """
import atexit, gc, sys
from pipelines.cli import main
before = [of["collections"] for of in gc.get_stats()]
def say():
    print(*(of["collections"] - was for of, was in zip(gc.get_stats(), before)), gc.get_freeze_count() > 0, file=sys.stderr)
atexit.register(say)
main()
"""


def test_a_command_collects_garbage_neither_during_its_imports_nor_at_its_end(
    environment: dict[str, str],
) -> None:
    ran = run_code(COLLECTED, ("check",), environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.split() == ["0", "0", "0", "True"]


def test_help_lists_every_command_completely_in_80_columns() -> None:
    from pipelines.cli.app import app

    ran = subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert "..." not in ran.stdout.partition("Options:")[2]
    named = [group.name for group in app.registered_groups if group.name]
    assert {"models", "characters", "ledger"} <= set(named)
    assert all(f"\n  {name} " in ran.stdout for name in (*named, "produce", "status", "verify-provider"))


def test_a_command_that_only_reads_waits_for_neither_dagster_nor_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_project(tmp_path, monkeypatch, ["east"])
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    monkeypatch.delenv("DAILIES_S3_BUCKET", raising=False)
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, "plan", "bay"], capture_output=True, text=True, check=True
    )
    assert "1 to buy" in ran.stdout
    assert not {"boto3", "dagster", "resources.production.engine"} & set(ran.stderr.split())
