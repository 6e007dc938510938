"""Copies of a ledger: complete while others write, checked before they are used, restored with the old ledger kept."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ledgerkit import a_request, decided, queued

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger import keys
from resources.ledger.backup import back_up, restore
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.postgres_dump import dump

SECRET = "hunter2-canary"


@pytest.fixture
def backend() -> str:
    """PostgreSQL has its own backup tools."""
    return "sqlite"


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def clips(url: str) -> list[str]:
    with Ledger(url, budget=Budget()) as ledger:
        return [attempt.subject_key for attempt in ledger.overview()]


def test_a_restored_copy_is_the_ledger_as_it_was(ledger_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "monday.db"
    with Ledger(ledger_url, budget=Budget()) as ledger:
        queued(ledger, a_request("clip-a"))
        assert back_up(ledger_url, copy) == copy.stat().st_size
        queued(ledger, a_request("clip-b"))
        name = ledger.id
    aside = restore(ledger_url, copy)
    assert clips(ledger_url) == ["clip-a"]
    with Ledger(ledger_url, budget=Budget()) as ledger:
        assert ledger.id == name
    assert aside is not None
    assert clips(f"sqlite:///{aside}") == ["clip-a", "clip-b"]
    assert clips(f"sqlite:///{copy}") == ["clip-a"]


def test_no_earlier_post_of_a_restored_copy_is_settled_by_elimination(
    ledger_url: str, tmp_path: Path
) -> None:
    copy = tmp_path / "monday.db"
    with Ledger(ledger_url, budget=Budget()) as ledger:
        assert keys.declare(ledger, "wavespeed", dedicated=True).dedicated_since == 0
        keys.declare(ledger, "aimlapi", dedicated=False)
        back_up(ledger_url, copy)
        before = ledger.clock()
    restore(ledger_url, copy)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        assert before <= keys.look_up(ledger, "wavespeed").dedicated_since <= ledger.clock()
        assert keys.look_up(ledger, "aimlapi").declared == keys.SHARED


@pytest.mark.slow
def test_a_copy_that_is_made_while_others_write_is_whole(ledger_url: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def writes() -> None:
        with Ledger(ledger_url, budget=Budget()) as ledger:
            number = 0
            while not stop.is_set():
                number += 1
                decided(ledger, a_request(f"clip-{number:05}"))

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        for number in range(5):
            copy = tmp_path / f"copy-{number}.db"
            back_up(ledger_url, copy)
            assert not list(tmp_path.glob("*.unfinished*"))
            with Ledger(f"sqlite:///{copy}", budget=Budget()) as ledger:
                for attempt in ledger.overview():
                    assert [entry["version"] for entry in ledger.history(attempt.id)] == [1]
    finally:
        stop.set()
        writer.join(120)


def test_a_copy_is_never_written_over_another(ledger_url: str, tmp_path: Path) -> None:
    with Ledger(ledger_url, budget=Budget()):
        pass
    there = tmp_path / "monday.db"
    there.write_text("the only copy")
    with pytest.raises(ConfigurationError, match="exists already"):
        back_up(ledger_url, there)
    assert there.read_text() == "the only copy"


def test_without_a_ledger_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no ledger"):
        back_up(f"sqlite:///{tmp_path}/none.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def cut(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size // 2)


def garbled(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    copy.write_bytes(data)


def newer(copy: Path) -> None:
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def another_thing(copy: Path) -> None:
    copy.unlink()
    with sqlite3.connect(copy) as connection:
        connection.execute("CREATE TABLE shopping (item TEXT)")


@pytest.mark.parametrize("spoil", [cut, garbled, newer, another_thing, Path.unlink])
def test_a_file_that_is_no_complete_copy_does_not_replace_the_ledger(
    ledger_url: str, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    copy = tmp_path / "copy.db"
    with Ledger(ledger_url, budget=Budget()) as ledger:
        queued(ledger, a_request("clip-a"))
        back_up(ledger_url, copy)
    spoil(copy)
    with pytest.raises(ConfigurationError, match="copy"):
        restore(ledger_url, copy)
    assert clips(ledger_url) == ["clip-a"]


def test_a_ledger_that_is_in_use_is_not_replaced(ledger_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with Ledger(ledger_url, budget=Budget()) as ledger:
        back_up(ledger_url, copy)
        queued(ledger, a_request("clip-a"))
        with ledger.read(), pytest.raises(UnavailableError, match="locked"):
            restore(ledger_url, copy)
    assert clips(ledger_url) == ["clip-a"]
    assert not list(tmp_path.glob("*.unfinished*"))


def test_a_copy_is_restored_where_the_ledger_is_gone(ledger_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with Ledger(ledger_url, budget=Budget()) as ledger:
        queued(ledger, a_request("clip-a"))
    back_up(ledger_url, copy)
    file_of(ledger_url).unlink()
    assert restore(ledger_url, copy) is None
    assert clips(ledger_url) == ["clip-a"]


@pytest.mark.parametrize(("act", "tool"), [(back_up, "pg_dump"), (restore, "pg_restore")])
def test_postgresql_is_left_to_its_own_tools(
    tmp_path: Path, act: Callable[[str, Path], object], tool: str
) -> None:
    url = f"postgresql+psycopg2://me:{SECRET}@db.example.com/dailies"
    with pytest.raises(ConfigurationError, match=tool) as told:
        act(url, tmp_path / "copy.dump")
    assert SECRET not in str(told.value)
    assert "db.example.com" in str(told.value)
    assert "psycopg2" not in str(told.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "error: aborting because of server version mismatch",
            "Install a pg_dump of the server's version or a newer one",
        ),
        ("error: connection to server failed", "set DAILIES_BACKUP_URL to the server's own address"),
    ],
)
def test_the_error_of_a_failed_dump_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\necho 'pg_dump: {said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError) as told:
        dump(f"postgresql://me:{SECRET}@db.example.com/dailies", tmp_path / "copy.dump")
    assert remedy in str(told.value)
    assert SECRET not in str(told.value)
    assert ("pooler" in str(told.value)) is ("version" not in said)
