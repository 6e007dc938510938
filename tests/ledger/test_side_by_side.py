"""Hosts are updated one after another: an old and a new program share one ledger, unless the ledger forbids it."""

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgerkit import a_request, claimed, decided, queued
from typer.testing import CliRunner

from pipelines.cli.ledger import ledger_app
from resources.errors import ConfigurationError
from resources.ledger import database
from resources.ledger.budget import Budget
from resources.ledger.database import OLDEST_READER, SCHEMA_REVISION, open_database, schema_state
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger

VERSIONS = Path(database.__file__).parent / "migrations" / "versions"
NEXT = "9001"


def expand(url: str, *, oldest_reader: str) -> None:
    """Change a ledger as the next version's migration would: a column, a table, and the oldest version that may share the ledger."""
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE attempts ADD COLUMN of_tomorrow TEXT"))
        connection.execute(sa.text("CREATE TABLE tomorrow (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{NEXT}'"))
        connection.execute(
            sa.text("UPDATE meta SET value = :oldest WHERE key = 'oldest_reader'"), {"oldest": oldest_reader}
        )
    engine.dispose()


def test_open_and_starting_programs_continue_beside_a_newer_one(ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as running:
        queued(running, a_request("clip-1"))
        expand(ledger_url, oldest_reader=OLDEST_READER)
        assert decided(running, a_request("clip-2")).ruling is Ruling.NEW
        with Ledger(ledger_url, budget=Budget()) as started:
            sent = {claimed(started).attempt.clip, claimed(running).attempt.clip}
            assert sent == {"clip-1", "clip-2"}
            assert decided(started, a_request("clip-1")).ruling is not Ruling.NEW
    assert schema_state(ledger_url).revision == NEXT


def test_a_program_refuses_a_ledger_whose_newer_migration_removed_something(ledger_url: str) -> None:
    expand(ledger_url, oldest_reader=NEXT)
    with pytest.raises(
        ConfigurationError, match=rf"newer dailies \(schema {NEXT}.*Nothing was read or written"
    ):
        Ledger(ledger_url, budget=Budget())


@pytest.mark.usefixtures("migrations")
def test_a_ledger_of_the_last_schema_is_migrated_and_names_its_oldest_reader(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    upgrade = command.upgrade
    before = f"{int(SCHEMA_REVISION) - 1:04}"
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _to: upgrade(config, before))
        open_database(empty_url).dispose()
    assert schema_state(empty_url).revision == before
    assert schema_state(empty_url).is_behind
    with Ledger(empty_url, budget=Budget()) as ledger:
        assert decided(ledger, a_request("clip-1")).ruling is Ruling.NEW
    state = schema_state(empty_url)
    assert (state.revision, state.oldest_reader, state.is_behind) == (SCHEMA_REVISION, OLDEST_READER, False)


def test_the_command_shows_the_pending_migrations_and_check_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "home"))
    looked = CliRunner().invoke(ledger_app, ["migrate", "--check"])
    assert (looked.exit_code, "there is no ledger yet" in looked.stdout) == (1, True)
    assert not (tmp_path / "home" / "ledger.db").exists()
    done = CliRunner().invoke(ledger_app, ["migrate"])
    assert (done.exit_code, f"it has {SCHEMA_REVISION} now" in done.stdout) == (0, True)
    assert CliRunner().invoke(ledger_app, ["migrate", "--check"]).exit_code == 0
    assert "nothing had to be done" in CliRunner().invoke(ledger_app, ["migrate"]).stdout


TAKES_AWAY = {"drop_column", "drop_table", "drop_constraint", "alter_column", "rename_table"}
ONE = "one_"
"""Prefixes of unique indexes, which enforce rules. Without another index, an older program is only slower."""


def takes_away(source: str) -> list[str]:
    """Changes of a migration other than additions."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = {one.arg: one.value for one in node.keywords}
        nullable = given.get("nullable")
        if node.func.attr in TAKES_AWAY:
            found.append(node.func.attr)
        if node.func.attr == "drop_index" and not (
            isinstance(node.args[0], ast.Constant) and not str(node.args[0].value).startswith(ONE)
        ):
            found.append("drop_index of a rule")
        if (
            node.func.attr == "Column"
            and isinstance(nullable, ast.Constant)
            and nullable.value is False
            and "server_default" not in given
            and "add_column" in source
            and "create_table" not in source
        ):
            found.append("a new column without a default that may not be null")
    return found


@pytest.mark.parametrize("file", sorted(VERSIONS.glob("[0-9]*.py")), ids=lambda file: file.stem)
def test_every_migration_since_the_oldest_reader_only_adds(file: Path) -> None:
    if file.stem[:4] > OLDEST_READER:
        assert takes_away(file.read_text()) == []


def test_the_rule_of_migrations_finds_each_kind_of_removal() -> None:
    assert takes_away('op.drop_column("attempts", "seed")') == ["drop_column"]
    assert takes_away('op.drop_index("one_circled_take_per_clip", "take_verdicts")') != []
    assert takes_away('op.drop_index("attempts_by_model", "attempts")') == []
    assert takes_away('op.add_column("a", sa.Column("b", sa.Text, nullable=False))') != []
    assert takes_away('op.add_column("a", sa.Column("b", sa.Text))') == []
