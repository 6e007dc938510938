"""What everything that works with a ledger is tested on: SQLite, and a real PostgreSQL that the tests bring themselves.

DAILIES_TEST_POSTGRES_URL names another PostgreSQL, whose user may make databases. DAILIES_TEST_POOLER, `transaction` or
`session`, puts a pgbouncer of that mode before whichever it is: `make test-pooler`.
"""

import functools
import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.hooks
import botocore.session
import httpx
import pytest
import sqlalchemy as sa
import stamina
import tiers
from alembic.config import Config
from alembic.script import ScriptDirectory
from cpu_by_file import (  # noqa: F401 - hooks
    pytest_addoption,
    pytest_runtest_logstart,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from explained import HISTORY
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from postgres_server import PostgresServer
from pydantic import SecretStr

from bench.history import write_history
from proof.clock import Clock
from resources.file_lock import lock_file
from resources.ledger import database
from resources.ledger.backup import back_up
from resources.ledger.budget import Budget
from resources.ledger.database import open_database
from resources.ledger.ledger import Ledger
from resources.settings import names
from resources.storage.s3_client import S3Settings


def pytest_configure(config: pytest.Config) -> None:
    """Hooks of a module of their own."""
    config.pluginmanager.register(tiers)


# until all tests are collected, next to nothing is garbage
gc.disable()

# tables are cut to the terminal's width, which is read when the commands are loaded
os.environ.setdefault("COLUMNS", "200")

# no test may buy with a person's own key, of whichever provider, or write into their bucket
for _name in names():
    os.environ.pop(_name, None)

# the sandbox's command answers a submit after 0.3 s, which only measurements need
os.environ.setdefault("DAILIES_SANDBOX_POST_SECONDS", "0")

# Servers of tests share a loaded machine with them: httpx's five seconds once failed three tests. Its clients copy this
# default; what gives a timeout of its own, as all of dailies does, keeps it.
vars(DEFAULT_TIMEOUT_CONFIG).update(vars(httpx.Timeout(120)))

# Every test makes databases and S3 clients of its own. What alembic and botocore read from their packages for each, and
# keep for each, is always the same and took a third of the tests' time.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
botocore.hooks.accepts_kwargs = functools.cache(botocore.hooks.accepts_kwargs)
_scripts: dict[str | None, ScriptDirectory] = {}
_read_scripts = ScriptDirectory.from_config


def _scripts_once(config: Config) -> ScriptDirectory:
    folder = config.get_main_option("script_location")
    if folder not in _scripts:
        _scripts[folder] = _read_scripts(config)
    return _scripts[folder]


ScriptDirectory.from_config = _scripts_once


# Every engine has a cache of compiled statements of its own, for a dialect of its own. Hundreds of engines open databases of two
# kinds here: those of one kind share both, once the first of them has asked its database what it is.
_make_engine = sa.create_engine
_kinds: dict[object, tuple[sa.Dialect, Any]] = {}
_engines: dict[tuple[Any, str], sa.Engine] = {}


def _engine_of_a_kind(url: Any, **how: Any) -> sa.Engine:
    # Dagster makes an engine for every connection to its SQLite files, 4,700 of them in eleven tests of the completion sensor
    again = how.get("poolclass") is sa.NullPool and str(url).startswith("sqlite")
    if again and (url, repr(how)) in _engines:
        return _engines[url, repr(how)]
    engine = _make_engine(url, **how)
    if again:
        engine.dispose = lambda close=True: None
        _engines[url, repr(how)] = engine
    kind = (
        engine.dialect.name,
        engine.driver,
        *(repr(how.get(name)) for name in ("isolation_level", "future", "json_serializer")),
    )
    if kind in _kinds:
        engine.dialect, engine._compiled_cache = _kinds[kind]
        engine.pool._dialect = engine.dialect
        return engine

    @sa.event.listens_for(engine, "first_connect")
    def _known(*_: object) -> None:
        _kinds.setdefault(kind, (engine.dialect, engine._compiled_cache))

    return engine


sa.create_engine = _engine_of_a_kind


# A new SQLite file gets what the migrations made of the first one: 4 ms of processor instead of 40.
_migrate = database._migrate
_migrated: list[str] = []


def _migrate_once(connection: sa.Connection) -> None:
    if connection.dialect.name != "sqlite" or sa.inspect(connection).get_table_names():
        _migrate(connection)
        return
    if _migrated:
        for statement in _migrated:
            connection.exec_driver_sql(statement)
        return
    _migrate(connection)
    file = connection.connection.driver_connection
    assert isinstance(file, sqlite3.Connection)
    _migrated.extend(line for line in file.iterdump() if line not in {"BEGIN TRANSACTION;", "COMMIT;"})


database._migrate = _migrate_once


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> Callable[[sa.Connection], None]:
    """Every new database runs the migrations themselves; returns what the other tests have instead."""
    monkeypatch.setattr(database, "_migrate", _migrate)
    return _migrate_once


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not go through it again and again, nor come so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


@pytest.fixture
def no_pauses() -> Iterator[None]:
    """What may be tried again is tried again at once, and nine times at most."""
    with stamina.set_testing(testing=True, attempts=9, cap=True):
        yield


def _not_to_disk(connection: object, record: Any, _proxy: object) -> None:
    if isinstance(connection, sqlite3.Connection) and not record.info.get("not to disk"):
        connection.execute("PRAGMA synchronous=OFF")
        record.info["not to disk"] = True


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """Nobody cuts the power here, so nobody waits for the disk: a killed process loses nothing of what it wrote."""
    sa.event.listen(sa.Pool, "checkout", _not_to_disk)
    yield
    sa.event.remove(sa.Pool, "checkout", _not_to_disk)


@pytest.fixture
def power_cuts() -> Iterator[None]:
    """SQLite exactly as production opens it."""
    sa.event.remove(sa.Pool, "checkout", _not_to_disk)
    yield
    sa.event.listen(sa.Pool, "checkout", _not_to_disk)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for this worker, started when the first test asks for it."""
    given, pooler = os.environ.get("DAILIES_TEST_POSTGRES_URL"), os.environ.get("DAILIES_TEST_POOLER")
    with PostgresServer(given, pooler=pooler) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty PostgreSQL database."""
    url = postgres.empty_database()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database with nothing in it."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose tables are made: a copy of it is faster than the migrations."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def new_ledger_url(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """Makes addresses of databases without a single attempt, one per call."""
    made: list[str] = []

    def make() -> str:
        if backend == "sqlite":
            path = tmp_path / f"ledger-{len(made)}.db"
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
            made.append(f"sqlite:///{path}")
        else:
            made.append(request.getfixturevalue("postgres").ledger_database())
        return made[-1]

    yield make
    if backend == "postgresql":
        for url in made:
            request.getfixturevalue("postgres").give_back(url)


@pytest.fixture
def ledger_url(new_ledger_url: Callable[[], str]) -> str:
    """The address of a ledger without a single attempt."""
    return new_ledger_url()


@pytest.fixture(scope="session")
def sqlite_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with `explained.HISTORY` purchases, up to the tests' clock; one for all workers, as it takes ten seconds."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "history.db"
    with (folder / "history.lock").open("a+") as lock:
        lock_file(lock, patience_seconds=1800)
        if not path.exists():
            partial = folder / "partial-history.db"
            with Ledger(f"sqlite:///{partial}", budget=Budget(), clock=Clock()) as ledger:
                write_history(ledger, HISTORY, now=ledger.clock())
            partial.rename(path)
    return path


@pytest.fixture(scope="session")
def postgres_history(postgres: PostgresServer, sqlite_history: Path) -> str:
    """The same in PostgreSQL, for copies only."""
    url = postgres.empty_database()
    open_database(url).dispose()
    postgres.fill(url, sqlite_history)
    return url


@pytest.fixture
def history_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a ledger with a history, whose every write stays in this test."""
    if backend == "sqlite":
        yield f"sqlite:///{shutil.copyfile(request.getfixturevalue('sqlite_history'), tmp_path / 'history.db')}"
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.copy(request.getfixturevalue("postgres_history"))
    yield url
    postgres.drop(url)


@pytest.fixture
def copied(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Copies a ledger that nobody has open and tells the copy's address: yesterday's backup, put back elsewhere."""
    made: list[str] = []

    def copy(url: str) -> str:
        if backend == "sqlite":
            target = tmp_path / f"copy-{len(made)}.db"
            back_up(url, target)
            made.append(f"sqlite:///{target}")
        else:
            made.append(request.getfixturevalue("postgres").copy(url))
        return made[-1]

    yield copy
    if backend == "postgresql":
        for url in made:
            request.getfixturevalue("postgres").drop(url)


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Settings]:
    """An S3 server that is not ours, with its address; each test takes a bucket of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Settings(
        bucket="dailies",
        endpoint_url=f"http://{host}:{port}",
        access_key_id="dailieskey",
        secret_access_key=SecretStr("dailies-secret"),
    )
    server.stop()
