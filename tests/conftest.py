"""The databases of all tests with a ledger: SQLite, and a real PostgreSQL that the tests start.

DAILIES_TEST_POSTGRES_URL names another PostgreSQL, whose user may create databases. DAILIES_TEST_POOLER, `transaction` or
`session`, puts a pgbouncer of that mode before either server: `make test-pooler`.
"""

import functools
import gc
import os
import shutil
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.hooks
import botocore.session
import compiled
import httpx
import pytest
import sqlalchemy as sa
import stamina
import tiers
import typer.main
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
from httpx._transports import default as transports
from pydantic import SecretStr

from bench.history import write_history
from proof.clock import Clock
from resources.file_lock import lock_file
from resources.ledger import database
from resources.ledger.backup import back_up
from resources.ledger.budget import Budget
from resources.ledger.database import open_database
from resources.ledger.ledger import Ledger
from resources.network.trust import ADDING, REPLACING
from resources.settings import names
from resources.storage.s3_client import S3Settings
from tests.postgres_server import PostgresServer

if TYPE_CHECKING:
    from resources.video.inspector import VideoInspector


def pytest_configure(config: pytest.Config) -> None:
    """Register the hooks of other modules."""
    config.pluginmanager.register(compiled)
    config.pluginmanager.register(tiers)
    # pytest collects garbage twice at its end, for half a second each: the second time it finds nothing
    config.add_cleanup(gc.freeze)


# collecting tests makes almost no garbage
gc.disable()

# tables are cut to the terminal's width, which is read at the import of the commands
os.environ.setdefault("COLUMNS", "200")

# no test may buy with a person's own key, or write into a person's bucket
for _name in names():
    os.environ.pop(_name, None)

# each process of dailies reads the certificates that a machine names, in 0.2 s
for _name in (*REPLACING, ADDING):
    os.environ.pop(_name, None)

# the sandbox's command answers a submit after 0.3 s, which only measurements need
os.environ.setdefault("DAILIES_SANDBOX_POST_SECONDS", "0")

# The tests' servers share a loaded machine: httpx's default of five seconds once failed three tests. Clients copy this default; code
# with its own timeout, as all of dailies has, keeps it.
vars(DEFAULT_TIMEOUT_CONFIG).update(vars(httpx.Timeout(120)))

# Every test makes its own databases and S3 clients. Alembic and botocore read the same files of their packages for each, which took a
# third of the tests' time.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
botocore.hooks.accepts_kwargs = functools.cache(botocore.hooks.accepts_kwargs)
# each client compares hundreds of names of events with their aliases again, in 20 ms
_aliaser: Any = botocore.hooks.EventAliaser
_aliased = functools.cache(_aliaser(None)._alias_event_name)
_aliaser._alias_event_name = lambda _, name: _aliased(name)

# Typer builds all commands from their signatures for each call, in 23 ms; half of the time of many tests of a command.
typer.main.get_command = functools.cache(typer.main.get_command)


# A client of httpx reads the certificates that it trusts, in 20 ms, also to speak with a server of its own test.
@functools.cache
def _trusting(trust_env: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


def _trusting_once(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is not True or cert is not None:
        return httpx.create_ssl_context(verify, cert, trust_env)
    return _trusting(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


vars(transports)["create_ssl_context"] = _trusting_once

_scripts: dict[str | None, ScriptDirectory] = {}
_read_scripts = ScriptDirectory.from_config


def _scripts_once(config: Config) -> ScriptDirectory:
    folder = config.get_main_option("script_location")
    if folder not in _scripts:
        _scripts[folder] = _read_scripts(config)
    return _scripts[folder]


ScriptDirectory.from_config = _scripts_once  # type: ignore[method-assign]


# Every engine has its own dialect and its own cache of compiled statements. Hundreds of engines open databases of only two kinds here:
# engines of one kind share both, once the first of them has asked its database for its version.
_make_engine = sa.create_engine
_kinds: dict[object, tuple[sa.Dialect, Any]] = {}
_engines: dict[tuple[Any, str], sa.Engine] = {}


def _engine_of_a_kind(url: Any, **how: Any) -> sa.Engine:
    # Dagster makes an engine for every connection to its SQLite files: 4,700 in eleven tests of the completion sensor
    again = how.get("poolclass") is sa.NullPool and str(url).startswith("sqlite")
    if again and (url, repr(how)) in _engines:
        return _engines[url, repr(how)]
    engine = _make_engine(url, **how)
    if again:
        engine.dispose = lambda close=True: None  # type: ignore[method-assign]
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


# a new SQLite file gets its tables from a dump of the first one: 4 ms of CPU instead of 40
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
    """Every new database runs the migrations themselves; returns the function that other tests use instead."""
    monkeypatch.setattr(database, "_migrate", _migrate)
    return _migrate_once


def pytest_collection_finish() -> None:
    """Imported modules stay alive: the garbage collector need not scan them again, nor run so often."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


@pytest.fixture
def no_pauses() -> Iterator[None]:
    """Retries follow at once, at most nine of them."""
    with stamina.set_testing(testing=True, attempts=9, cap=True):
        yield


def _not_to_disk(connection: object, record: Any, _proxy: object) -> None:
    if isinstance(connection, sqlite3.Connection) and not record.info.get("not to disk"):
        connection.execute("PRAGMA synchronous=OFF")
        record.info["not to disk"] = True


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """No test cuts the power, so no test waits for the disk: a killed process loses nothing that it wrote."""
    sa.event.listen(sa.Pool, "checkout", _not_to_disk)
    yield
    sa.event.remove(sa.Pool, "checkout", _not_to_disk)


@pytest.fixture
def power_cuts() -> Iterator[None]:
    """Open SQLite exactly as production does."""
    sa.event.remove(sa.Pool, "checkout", _not_to_disk)
    yield
    sa.event.listen(sa.Pool, "checkout", _not_to_disk)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """This worker's server, started for the first test that asks for it."""
    given, pooler = os.environ.get("DAILIES_TEST_POSTGRES_URL"), os.environ.get("DAILIES_TEST_POOLER")
    with PostgresServer(given, pooler=pooler) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty PostgreSQL database."""
    url = postgres.empty_database()
    yield url
    postgres.drop(url)


@pytest.fixture
def postgres_ledger_url(postgres: PostgresServer) -> Iterator[str]:
    """The address of a ledger without attempts in PostgreSQL."""
    url = postgres.ledger_database()
    yield url
    postgres.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database without tables."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the ledger's tables: copying it is faster than the migrations."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def new_ledger_url(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """Makes databases without attempts; each call returns the address of another one."""
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
    """The address of a ledger without attempts."""
    return new_ledger_url()


@pytest.fixture(scope="session")
def sqlite_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with `explained.HISTORY` purchases up to the tests' clock; all workers share it, because it takes ten seconds."""
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
    """The same history in PostgreSQL; tests may only read or copy it."""
    url = postgres.empty_database()
    open_database(url).dispose()
    postgres.fill(url, sqlite_history)
    return url


@pytest.fixture
def history_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a copy of that ledger for this test alone."""
    if backend == "sqlite":
        yield f"sqlite:///{shutil.copyfile(request.getfixturevalue('sqlite_history'), tmp_path / 'history.db')}"
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.copy(request.getfixturevalue("postgres_history"))
    yield url
    postgres.drop(url)


@pytest.fixture
def copied(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Copies a ledger that nobody has open, and returns the copy's address: yesterday's backup, restored elsewhere."""
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
def lookers() -> Iterator["VideoInspector"]:
    """The inspection processes of a worker's tests: starting them takes longer than most deliveries."""
    from resources.production.delivery import INSPECTORS
    from resources.video.inspector import VideoInspector

    with VideoInspector(workers=INSPECTORS) as made:
        yield made


@pytest.fixture
def lent_inspector(lookers: "VideoInspector", monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each deliverer inspect in the processes that all tests of a worker share."""
    from deliverykit import Lent

    from resources.production import delivery

    monkeypatch.setattr(delivery, "VideoInspector", lambda **_: Lent(lookers))


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Settings]:
    """The address of moto's S3 server; each test has its own bucket."""
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
