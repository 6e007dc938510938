"""`dailies --help` and `--version` load no library that only a command needs; a command that only reads loads no client."""

import json
import os
import subprocess
import sys

import pytest

from resources.ledger.database import open_database

SEVERAL = """
import json, sys
from pipelines.cli import main
for line in sys.argv[1:]:
    if line.startswith(("retry", "produce ")) and "--help" not in line:
        from pipelines.cli import launch
        launch.check_dagster = lambda *_: None
    sys.argv[1:] = line.split()
    try:
        main()
    except SystemExit as ended:
        print(json.dumps([ended.code, *sys.modules]), file=sys.stderr)
"""
"""Runs commands one after another, and writes each one's exit code and the modules that are loaded then.

A command that buys continues to its question although no Dagster runs.
"""
CLIENTS = {"alembic", "av", "boto3", "botocore", "dagster", "h11", "httpcore", "httpx", "stamina", "urllib3"}
LAZY = CLIENTS | {"resources.production.engine", "sqlalchemy.dialects.postgresql"}


class Ran:
    """Commands that ran one after another in another process, without a terminal."""

    def __init__(self, lines: tuple[str, ...], environment: dict[str, str] | None) -> None:
        ran = run_code(SEVERAL, lines, environment)
        self.stdout, self.stderr = ran.stdout, ran.stderr
        ends = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("[")]
        assert len(ends) == len(lines), ran.stderr
        self.codes = {line: end[0] for line, end in zip(lines, ends, strict=True)}
        self.loaded = {line: set(end[1:]) for line, end in zip(lines, ends, strict=True)}


def run_code(
    code: str, arguments: tuple[str, ...], environment: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments in another process, without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def helped() -> Ran:
    return Ran(("--help", "produce --help", "ledger --help", "--version"), None)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command, with a home whose ledger exists: Alembic creates a new one only once."""
    home = tmp_path_factory.mktemp("home")
    open_database(f"sqlite:///{home / 'ledger.db'}").dispose()
    return {"PATH": os.environ["PATH"], "DAILIES_HOME": str(home), "DAILIES_ENV_FILE": ""}


@pytest.fixture(scope="module")
def ran(environment: dict[str, str]) -> Ran:
    return Ran(("status", "plan product-loop", "retry", "produce product-loop"), environment)


@pytest.mark.slow
def test_help_imports_neither_database_nor_dagster_nor_models(helped: Ran) -> None:
    assert helped.stdout.count("Usage: ") == 3
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
    # Typer itself needs pydantic for the options of a command
    assert (heavy | {"pydantic"}) & helped.loaded["--help"] == set()
    assert heavy & helped.loaded["--version"] == set()


@pytest.mark.slow
def test_help_lists_every_command_completely_in_80_columns(helped: Ran) -> None:
    from pipelines.cli.app import app

    text = helped.stdout.split("Usage: ")[1]
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("Options:")[2]
    named = [group.name for group in app.registered_groups if group.name]
    assert {"models", "characters", "ledger"} <= set(named)
    assert all(f"\n  {name} " in text for name in (*named, "produce", "status", "verify-provider"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "heavy"), [("status", LAZY | {"jinja2"}), ("plan product-loop", LAZY)], ids=["status", "plan"]
)
def test_a_command_that_only_reads_imports_no_client(ran: Ran, line: str, heavy: set[str]) -> None:
    assert ran.codes[line] == 0, ran.stderr
    assert " to buy" in ran.stdout
    assert heavy & ran.loaded[line] == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("retry", 0, "no clip has failed"),
        ("produce product-loop", 2, "without a terminal nobody can be asked"),
    ],
)
def test_the_steps_before_a_launch_do_not_wait_for_dagster(ran: Ran, line: str, code: int, says: str) -> None:
    assert ran.codes[line] == code
    assert says in ran.stdout + ran.stderr
    assert {"alembic", "av", "boto3", "dagster"} & ran.loaded[line] == set()


CHECKED = """
import atexit, gc, sys
from pipelines.cli import main
before = [of["collections"] for of in gc.get_stats()]
def say():
    print(*(of["collections"] - was for of, was in zip(gc.get_stats(), before)), gc.get_freeze_count() > 0, file=sys.stderr)
    print(*sys.modules, file=sys.stderr)
atexit.register(say)
main()
"""


@pytest.mark.slow
def test_a_check_imports_neither_client_nor_database_and_collects_garbage_neither_then_nor_at_its_end(
    environment: dict[str, str],
) -> None:
    checked = run_code(CHECKED, ("check",), environment)
    assert checked.stdout
    collected, loaded = checked.stderr.splitlines()
    assert collected.split() == ["0", "0", "0", "True"]
    assert (CLIENTS | {"sqlalchemy"}) & set(loaded.split()) == set()
