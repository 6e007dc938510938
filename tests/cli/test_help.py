"""`dailies --help` and `--version`: they load nothing that only a command needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import a_project

LOADED = """
import atexit, sys
from pipelines.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("produce", "--help"), ("ledger", "--help"), ("--version",)]
)
def test_help_imports_neither_database_nor_dagster_nor_models(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True
    )
    assert ran.stdout
    # Typer itself needs pydantic for the options of a command
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
    if arguments == ("--help",):
        heavy.add("pydantic")
    assert heavy & set(ran.stderr.split()) == set()


CLIENTS = {"alembic", "av", "boto3", "botocore", "dagster", "h11", "httpcore", "httpx", "stamina", "urllib3"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("check",), CLIENTS | {"sqlalchemy"}),
        (("plan", "product-loop"), CLIENTS - {"alembic"}),
        (("status",), CLIENTS - {"alembic"} | {"jinja2"}),
    ],
)
def test_a_command_that_only_looks_imports_no_client(
    tmp_path: Path, arguments: tuple[str, ...], heavy: set[str]
) -> None:
    # a new ledger is made with Alembic, once
    environment = {"PATH": os.environ["PATH"], "DAILIES_HOME": str(tmp_path / "home"), "DAILIES_ENV_FILE": ""}
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert ran.stdout
    assert heavy & set(ran.stderr.split()) == set()


def test_help_lists_every_command_whole_in_80_columns() -> None:
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


def test_a_command_that_only_looks_waits_for_neither_dagster_nor_the_bucket(
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
