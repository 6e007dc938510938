"""Opening the ledger's database: what this creates, and what it refuses."""

import contextlib
import itertools
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from ledgerkit import ACCOUNT, a_request, claimed, decided, queued, submitted

from proof.clock import Clock
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.ledger import database, disputes, late_jobs, outcomes, pauses, polls, schema
from resources.ledger.address import for_psycopg, parsed_address
from resources.ledger.backup import back_up
from resources.ledger.budget import Budget
from resources.ledger.database import SCHEMA_REVISION, open_database
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost import search_schedule
from resources.ledger.lost.posts import Contract
from resources.ledger.states import OPEN, TRANSITIONS, AttemptState, MoneyState
from tests.postgres_server import PostgresServer

SECRET = "hunter2-canary"


def test_the_ledgers_of_other_tests_equal_migrated_ones(
    tmp_path: Path, migrations: Callable[[sa.Connection], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables(name: str) -> list[str]:
        open_database(f"sqlite:///{tmp_path / name}").dispose()
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as file:
            return list(file.iterdump())

    migrated = tables("migrated.db")
    monkeypatch.setattr(database, "_migrate", migrations)
    assert tables("first.db") == tables("second.db") == migrated


@pytest.mark.slow
@pytest.mark.usefixtures("migrations")
def test_the_migrations_create_exactly_the_schema(empty_url: str, backend: str) -> None:
    from alembic.autogenerate import compare_metadata

    engine = open_database(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []
        built = sa.inspect(connection)
        for table in schema.metadata.sorted_tables:
            checks = {check["name"] for check in built.get_check_constraints(table.name)}
            declared = {c.name for c in table.constraints if isinstance(c, sa.CheckConstraint) and c.name}
            assert checks == declared, table.name
        one_index_covers_exactly_the_open_states(connection, backend)
        partial_indexes_have_the_conditions_of_the_schema(connection, backend)
    engine.dispose()


def one_index_covers_exactly_the_open_states(connection: sa.Connection, backend: str) -> None:
    name = "one_open_attempt_per_slot"
    query = {
        "sqlite": f"SELECT sql FROM sqlite_master WHERE name = '{name}'",
        "postgresql": f"SELECT indexdef FROM pg_indexes WHERE indexname = '{name}' AND schemaname = current_schema()",
    }[backend]
    definition = str(connection.execute(sa.text(query)).scalar_one())
    assert "UNIQUE" in definition
    assert set(re.findall(r"'(\w+)'", definition)) == {state.value for state in OPEN}


def partial_indexes_have_the_conditions_of_the_schema(connection: sa.Connection, backend: str) -> None:
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = current_schema() AND indexdef LIKE '% WHERE %'",
    }[backend]
    built = {name: sql.partition(" WHERE ")[2] for name, sql in connection.execute(sa.text(query))}
    declared = {
        str(index.name): index.info["where"]
        for table in schema.metadata.sorted_tables
        for index in table.indexes
        if "where" in index.info
    }
    if backend == "sqlite":
        assert built == declared
    # PostgreSQL stores a condition in its own form
    assert built.keys() == declared.keys()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_script_gets_no_ledger(
    postgres: PostgresServer, encoding: str
) -> None:
    """A Japanese prompt was bought there, and its clip could not be recorded as delivered."""
    url = postgres.empty_database(encoding=encoding)
    with pytest.raises(ConfigurationError, match=rf"has the encoding {encoding}.*ENCODING 'UTF8'"):
        open_database(url)
    engine = sa.create_engine(for_psycopg(parsed_address(url)))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    postgres.drop(url)


def test_the_index_of_the_schema_covers_the_open_states() -> None:
    assert set(re.findall(r"'(\w+)'", schema.OPEN_STATES_SQL)) == {state.value for state in OPEN}


def test_every_open_state_has_a_way_out_and_a_closed_one_never_opens_again() -> None:
    for state in OPEN:
        assert TRANSITIONS.get(state), f"{state} has no way out"
    for state, following in TRANSITIONS.items():
        if state not in OPEN:
            assert not following & OPEN, f"{state} would open again"


def test_every_state_can_be_reached_from_queued() -> None:
    seen, frontier = {AttemptState.QUEUED}, [AttemptState.QUEUED]
    while frontier:
        fresh = TRANSITIONS.get(frontier.pop(), frozenset()) - seen
        seen |= fresh
        frontier.extend(fresh)
    assert seen == set(AttemptState)


def test_a_ledger_keeps_its_id_and_its_content_when_it_is_opened_again(ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as first:
        attempt = queued(first)
        name = first.id
    with Ledger(ledger_url, budget=Budget()) as second:
        assert second.id == name
        assert second.attempts([attempt.id]) == {attempt.id: attempt}
        assert second.owner != first.owner


@pytest.mark.usefixtures("migrations")
def test_threads_that_open_an_empty_database_at_once_agree_on_one_ledger(empty_url: str) -> None:
    together = threading.Barrier(6, timeout=120)
    ids: list[str] = []
    errors: list[Exception] = []

    def start() -> None:
        together.wait()
        try:
            with Ledger(empty_url, budget=Budget()) as ledger:
                ids.append(ledger.id)
        except Exception as error:  # noqa: BLE001 - the test compares every error
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert len(ids) == 6
    assert len(set(ids)) == 1


def test_a_database_of_a_newer_dailies_is_refused_and_left_alone(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger, ledger.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(sa.text("UPDATE meta SET value = '9999' WHERE key = 'oldest_reader'"))
    with pytest.raises(
        ConfigurationError, match=rf"newer dailies \(schema 9999, this one knows {SCHEMA_REVISION}\)"
    ):
        open_database(ledger_url)
    monkeypatch.setattr(database, "SCHEMA_REVISION", "9999")
    with Ledger(ledger_url, budget=Budget()) as ledger:
        assert ledger.overview() == []


@pytest.mark.slow
@pytest.mark.usefixtures("migrations")
def test_a_migration_that_is_interrupted_leaves_nothing_and_is_done_at_the_next_start(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    def dies(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", dies)
        with pytest.raises(KeyboardInterrupt):
            open_database(empty_url)
    with Ledger(empty_url, budget=Budget()) as ledger:
        assert decided(ledger).ruling is Ruling.NEW


@pytest.mark.slow
@pytest.mark.usefixtures("migrations")
def test_a_migrated_ledger_continues_its_purchases(
    empty_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _to: upgrade(config, "0003"))
        engine = open_database(empty_url)
    states = dict.fromkeys(AttemptState, MoneyState.CONFIRMED)
    states |= dict.fromkeys((AttemptState.UNKNOWN, AttemptState.HELD), MoneyState.INDETERMINATE)
    columns = (
        "id, subject_kind, subject_key, series, fingerprint, provider, account, endpoint, request, decision, state, version, "
        "money_state, quoted_micros, counted_on, created_at, submitted_at, job_id"
    )
    values = ", ".join(f":{name}" for name in columns.split(", "))
    with engine.begin() as connection:
        for number, (state, money) in enumerate(states.items()):
            request = a_request(f"clip-{number}")
            row = dict.fromkeys(columns.split(", "), "x") | {
                "id": f"attempt-{number}",
                "subject_kind": "clip",
                "subject_key": request.clip,
                "provider": ACCOUNT,
                "account": ACCOUNT,
                "request": request.model_dump_json(),
                "decision": "monday",
                "state": state.value,
                "version": 1,
                "money_state": money.value,
                "quoted_micros": 400_000,
                "counted_on": "2026-11-20",
                "created_at": clock.now,
                "submitted_at": clock.now,
                "job_id": f"job-{number}",
            }
            connection.execute(sa.text(f"INSERT INTO attempts ({columns}) VALUES ({values})"), row)
            lost = state in {AttemptState.UNKNOWN, AttemptState.HELD}
            connection.execute(
                sa.text(
                    "INSERT INTO submissions (id, attempt_id, account, state, owner, started_at, lease_until) "
                    "VALUES (:id, :attempt, :account, :state, 'x', :at, :at)"
                ),
                {
                    "id": f"post-{number}",
                    "attempt": row["id"],
                    "account": ACCOUNT,
                    "at": clock.now,
                    "state": "unknown" if lost else "accepted",
                },
            )
        connection.execute(
            sa.text("INSERT INTO accounts (account, not_before) VALUES (:account, :at)"),
            {"account": ACCOUNT, "at": clock.now + 86_400},
        )
    engine.dispose()
    with Ledger(empty_url, budget=Budget(), clock=clock) as ledger:
        found = ledger.attempts([f"attempt-{number}" for number in range(len(states))])
        assert {a.state for a in found.values()} == set(AttemptState)
        assert {(a.end_kind, a.end_times, a.late_at) for a in found.values()} == {(None, 0, None)}
        assert not late_jobs.is_due(ledger, ACCOUNT), "jobs that ended before are not polled again"
        assert pauses.pauses(ledger) == [], "a pause of a day, which is longer than any provider gets now"
        assert disputes.open_disputes(ledger) == []
        clock.forward(60)
        contract = Contract(echoes=False, settle_seconds=60)
        assert search_schedule.claim(ledger, ACCOUNT, contract) is not None
        assert outcomes.expire_submissions(ledger, ACCOUNT) == []


def test_the_queries_of_a_step_read_no_history_they_do_not_need(ledger: Ledger) -> None:
    if ledger._engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plans depend on the content of its tables")
    queued(ledger)
    asked: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(ledger._engine, "before_cursor_execute", hear)
    queued(ledger, a_request("clip-b"))
    late_jobs.is_due(ledger, ACCOUNT)
    outcomes.expire_submissions(ledger, ACCOUNT)
    polls.usual_seconds(ledger, ACCOUNT, ["an/endpoint"])
    search_schedule.claim(ledger, ACCOUNT, Contract(echoes=False, settle_seconds=60))
    claimed(ledger, limits=Limits(in_flight=5, per_minute=5))
    with ledger.read() as connection:
        plans = [
            (row.detail, statement)
            for statement, parameters in asked
            if statement.startswith("SELECT")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert plans
    for detail, statement in plans:
        assert not re.match(r"SCAN (attempts|submissions|jobs|journal|spending)", detail), statement
        # an index of which only the account is used reads every purchase of the account
        assert not re.search(r"INDEX (attempts|submissions)_by_\w+ \(account=\?\)$", detail), statement


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "postgresql://",
        f"postgresql://me:{SECRET}@host:notaport/ledger",
        f"mysql://me:{SECRET}@host/ledger",
        f"redis://:{SECRET}@host/1",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises((ConfigurationError, UnavailableError)) as refused:
        open_database(url)
    assert SECRET not in f"{refused.value!r} {refused.value.__cause__!r}"
    if url != "postgresql://":
        assert isinstance(refused.value, ConfigurationError)
        assert "DAILIES_LEDGER_URL" in str(refused.value)
        assert "sqlite" in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a file"):
        open_database(url)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(UnavailableError, match="does not answer") as refused:
        open_database(f"postgresql://me:{SECRET}@127.0.0.1:1/ledger?connect_timeout=2")
    assert SECRET not in str(refused.value)
    assert "127.0.0.1:1" in str(refused.value)
    assert "Nothing was bought" in str(refused.value)


PASSWORDS = [
    f"hunter2{mark}tail99" for mark in ("@", "/", "%", "#", "?", ":", " ", "[", "\\", "@@", "@/x@y", "?a=", "@h:5432/db?x=")
] + ["@hunter2tail99", "hunter2tail99@", "hunter2%40tail99"]  # fmt: skip
ADDRESSES = [
    "user:{}@127.0.0.1:1/db",
    "user:{}@127.0.0.1:1/db?connect_timeout=1",
    "user@corp:{}@127.0.0.1:1/db",
    ":{}@127.0.0.1:1/db",
    "{}@127.0.0.1:1/db",
    "user:{}@/db?host=/nowhere",
    "127.0.0.1:1/db?user=me&password={}",
]


@pytest.mark.parametrize(
    ("scheme", "password"),
    [
        *itertools.product(["postgresql", "sqlite", "mysql"], PASSWORDS),
        # other words for the first one
        *itertools.product(["postgresql+psycopg2", "postgres"], PASSWORDS[:2]),
    ],
)
def test_no_part_of_a_password_is_shown_whatever_it_holds(scheme: str, password: str, tmp_path: Path) -> None:
    for place in ADDRESSES:
        for act in (open_database, lambda url: back_up(url, tmp_path / "copy.db")):
            with pytest.raises((ConfigurationError, UnavailableError)) as refused:
                act(f"{scheme}://{place.format(password)}")
            assert not re.search("hunter2|tail99", f"{refused.value!r} {refused.value.__cause__!r}")


def test_a_password_that_the_driver_repeats_is_not_shown() -> None:
    def repeats(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception("no entry for hunter2/tail99 (hunter2%2ftail99)"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "_bring_up_to_date", repeats)
        with pytest.raises(UnavailableError) as refused:
            open_database("postgresql://me:hunter2%2Ftail99@127.0.0.1:1/db")
    assert "no entry for [password] ([password])" in str(refused.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "file"))):
        open_database(f"sqlite:///{tmp_path}/file/deeper/ledger.db")


def test_a_folder_that_is_not_writable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the tests may run as root, who may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match=r"not writable.*DAILIES_HOME"):
        open_database(f"sqlite:///{tmp_path}/ledger.db")
    assert not (tmp_path / "ledger.db").exists()


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("a shopping list, and not a short one" * 40)
    with pytest.raises(DailiesError, match=re.escape(str(path))):
        open_database(f"sqlite:///{path}")
    assert path.read_text().startswith("a shopping list")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DailiesError, match=re.escape(str(tmp_path))):
        open_database(f"sqlite:///{tmp_path}")


def test_a_network_filesystem_is_refused_for_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_filesystem_of", lambda folder: "nfs4")
    with pytest.raises(ConfigurationError, match=r"network filesystem \(nfs4\).*PostgreSQL"):
        open_database(f"sqlite:///{tmp_path}/ledger.db")


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
server:/with /mnt/my\\040share cifs rw 0 0
/dev/sdb1 /home/me/local xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/dailies", "nfs4"),
        ("/home", "nfs4"),
        ("/homelab/dailies", "ext4"),
        ("/home/me/local/dailies", "xfs"),
        ("/mnt/my share/dailies", "cifs"),
        ("/srv", "ext4"),
    ],
)
def test_the_filesystem_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert database.filesystem_of(Path(folder), MOUNTS) == kind


def test_a_link_to_a_network_filesystem_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "local").symlink_to(tmp_path / "share")
    monkeypatch.setattr(
        database, "_filesystem_of", lambda folder: "nfs" if folder.name == "share" else "ext4"
    )
    with pytest.raises(ConfigurationError, match="network filesystem"):
        open_database(f"sqlite:///{tmp_path}/local/ledger.db")


def test_sqlite_syncs_every_commit_and_does_not_block_readers(power_cuts: None, tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/ledger.db")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == database.BUSY_TIMEOUT_MS
    engine.dispose()


def test_a_writer_on_sqlite_holds_the_lock_from_the_beginning_of_its_transaction(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger, ledger.write():
        stranger = sqlite3.connect(tmp_path / "ledger.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("BEGIN IMMEDIATE")
        assert stranger.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
        stranger.close()


def test_a_locked_database_is_a_clear_error_and_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
        stranger = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            UnavailableError, match=r"could not be written: database is locked.*Nothing of this step"
        ):
            decided(ledger)
        stranger.execute("ROLLBACK")
        stranger.close()
        assert ledger.overview() == []


@pytest.mark.postgresql
@pytest.mark.parametrize("statement", ["UPDATE journal SET why = 'nothing happened'", "DELETE FROM journal"])
def test_the_journal_cannot_be_changed(ledger: Ledger, statement: str) -> None:
    attempt = queued(ledger)
    before = ledger.history(attempt.id)
    with (
        pytest.raises(sa.exc.DatabaseError, match="the journal is append-only"),
        ledger.write() as connection,
    ):
        connection.execute(sa.text(statement))
    assert ledger.history(attempt.id) == before
    assert len(before) == 1


def test_the_journal_cannot_be_emptied_as_a_whole(postgres_ledger_url: str) -> None:
    with Ledger(postgres_ledger_url, budget=Budget()) as ledger:
        attempt = queued(ledger)
        with (
            pytest.raises(sa.exc.DatabaseError, match="the journal is append-only"),
            ledger.write() as connection,
        ):
            connection.execute(sa.text("TRUNCATE journal"))
        assert len(ledger.history(attempt.id)) == 1


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_an_address_without_a_driver_uses_the_driver_of_dailies(
    postgres_ledger_url: str, scheme: str
) -> None:
    engine = open_database(postgres_ledger_url.replace("postgresql", scheme, 1))
    assert engine.driver == "psycopg2"
    engine.dispose()


def test_the_database_itself_refuses_a_second_open_attempt_of_a_clip(ledger: Ledger, clock: Clock) -> None:
    attempt = submitted(ledger)
    with ledger.read() as connection:
        row = connection.execute(sa.select(schema.attempts).where(schema.attempts.c.id == attempt.id)).one()
    values = dict(row._mapping) | {"id": "another", "decision": "another"}
    del values["seq"]
    with pytest.raises(sa.exc.IntegrityError), ledger.write() as connection:
        connection.execute(sa.insert(schema.attempts).values(values))
    assert len(ledger.overview()) == 1


@pytest.mark.slow
def test_opening_a_ledger_again_keeps_the_locks_of_its_process(tmp_path: Path) -> None:
    """POSIX drops every lock of a process on a file when the process closes that file, however it had opened it."""
    path = tmp_path / "ledger.db"
    tries = (
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)  # sqlite3: SHARED_FIRST, SHARED_SIZE\n"
    )

    def may_another_take_it() -> bool:
        done = subprocess.run(
            [sys.executable, "-c", tries, str(path)], capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0 or b"BlockingIOError" in done.stderr, done.stderr
        return done.returncode == 0

    with Ledger(f"sqlite:///{path}", budget=Budget()) as ledger:
        ledger.remember("a", "b")
        assert not may_another_take_it()
        with Ledger(f"sqlite:///{path}", budget=Budget()):
            pass
        assert not may_another_take_it()
    assert may_another_take_it()
