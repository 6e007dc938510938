"""Opening the ledger's database: safe defaults for SQLite, the same code on PostgreSQL, migrations, refusals.

The ledger guards money, so an unsafe database (SQLite on a network filesystem, a schema from a newer dailies) is refused with a
reason.

Each module keeps the queries of a tick as constants with `bindparam`: SQLAlchemy takes four times as long to build a query and
find its text in the cache as SQLite takes to answer it (`docs/performance.md`).
"""

import contextlib
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import registry, sqlite
from sqlalchemy.dialects.sqlite import pysqlite

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger import outage
from resources.ledger.address import for_psycopg, is_postgresql, parsed_address, shown_address
from resources.ledger.outage import READING, TRANSACTION_ID, first_line, is_away
from resources.ledger.stored_forms import json_text

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

T = TypeVar("T")

SCHEMA_REVISION = "0030"
"""The newest migration this program knows."""

OLDEST_READER = "0028"
"""The oldest program, by its newest migration, that may work on this schema. A migration that removes something such a program
reads or writes raises this number; every migration since only adds (CONTRIBUTING.md, "A change of the schema")."""
_OLDEST_READER_FACT = "oldest_reader"

_HAS_REVISION = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT to_regclass('alembic_version')",
}
"""Per database: a query that finds nothing before the first migration."""

PAGE_BYTES = 8192
"""The size of a page of a new SQLite file. A purchase's row of 1.3 kB leaves a quarter of a page of 4 kB empty."""
BUSY_TIMEOUT_MS = 30_000
"""How long a transaction waits for a lock in the database."""
CHUNK = 500
"""Keys per IN list; SQLite allows 32,766 parameters, and short statements keep other writers waiting less."""
MIGRATION_LOCK = 7_246_001
SUBJECT_LOCKS = 7_246_002
MONEY_LOCK = 7_246_003
"""Names of PostgreSQL's advisory locks."""
NETWORK_FILESYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "fuse.s3fs",
    "ceph",
    "glusterfs",
    "lustre",
}


def open_database(url: str, *, patience: float = 0) -> sa.Engine:
    """Connect to the ledger's database, bring its schema up to date, and refuse what is unsafe.

    Args:
        url: `sqlite:///path/to/ledger.db`, or `postgresql://...` for several machines.
        patience: How long to wait for a PostgreSQL server that does not answer, in seconds.

    Raises:
        ConfigurationError: The address is not usable, the folder is not writable or on a network filesystem, or the
            database was written by a newer dailies that allows no program of this age beside it.
        UnavailableError: The database does not answer.
    """
    engine, shown = _engine_of(url)
    _answered(engine, shown, lambda: _bring_up_to_date(engine, shown), patience)
    return engine


@dataclass(frozen=True)
class SchemaState:
    """The schema of a ledger, compared with this program's."""

    revision: str | None
    """The newest migration of the database; None if there is no ledger yet."""
    oldest_reader: str | None
    """The oldest program that may work on it; None if no program has recorded one yet."""

    @property
    def is_behind(self) -> bool:
        """Whether `open_database` would migrate it."""
        return self.revision is None or self.revision < SCHEMA_REVISION


def schema_state(url: str) -> SchemaState:
    """Read the schema of a ledger without changing it.

    Raises:
        ConfigurationError: The address is not usable.
        UnavailableError: The database does not answer.
    """
    parsed = parsed_address(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return SchemaState(None, None)
    engine, shown = _engine_of(url)

    def look() -> SchemaState:
        with outage.reading(engine) as connection:
            revision = _revision(connection)
            return SchemaState(revision, None if revision is None else _oldest_reader(connection))

    try:
        return _answered(engine, shown, look, 0)
    finally:
        engine.dispose()


def _engine_of(url: str) -> tuple[sa.Engine, str]:
    """An engine for the ledger's address, and the address without its secrets."""
    parsed = parsed_address(url)
    if parsed.get_backend_name() == "sqlite":
        engine = _open_sqlite(parsed)
    elif is_postgresql(parsed):
        engine = _open_postgresql(parsed)
    else:
        raise ConfigurationError(
            f"the ledger cannot live in {parsed.get_backend_name()!r}; allowed: sqlite, postgresql. Set DAILIES_LEDGER_URL."
        )
    return engine, shown_address(parsed)


def _answered(engine: sa.Engine, shown: str, work: Callable[[], T], patience: float) -> T:
    """The result of `work`; the engine is closed if its database does not answer."""
    give_up = time.monotonic() + patience
    while True:
        try:
            return work()
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            engine.dispose()
            if isinstance(error, sa.exc.DBAPIError) and is_away(engine, error) and time.monotonic() < give_up:
                time.sleep(outage.PAUSE_SECONDS)
                continue
            raise UnavailableError(
                f"the ledger's database {shown} does not answer: {first_line(error, engine)}. Nothing was bought; what the ledger holds is not known until it answers. "
                f"{_advice(str(error))}, then try again."
            ) from None
        except sa.exc.DatabaseError as error:
            engine.dispose()
            raise ConfigurationError(
                f"the ledger's database {shown} cannot be used: {first_line(error, engine)}. Nothing was bought, and nothing is bought without a ledger. "
                "If it was a ledger, restore it from a backup; otherwise set DAILIES_LEDGER_URL to another place."
            ) from None


def _advice(message: str) -> str:
    """What a person can do about a server that cannot be reached or refuses the connection."""
    if "unsupported startup parameter" in message:
        return "A pooler takes no settings in the address: take `options` out of DAILIES_LEDGER_URL"
    return "Check the address and that the server runs or the folder is writable"


def _open_postgresql(url: sa.URL) -> sa.Engine:
    """An engine that sets its timeouts in each transaction.

    It sets nothing for a session: a pooler gives every transaction another session, and refuses settings in the first packet of a
    connection (pgbouncer: "unsupported startup parameter: options"). psycopg2 prepares no statements.
    """
    engine = sa.create_engine(for_psycopg(url), json_serializer=json_text)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reads = connection.info.pop(READING, False)
        began = connection.exec_driver_sql(_settings(reading=reads)).one()
        connection.info[TRANSACTION_ID] = None if reads else began[-1]

    return engine


def _settings(*, reading: bool) -> str:
    """The statement that sets a transaction's lock timeout and idle timeout, and reads its id unless it only reads.

    Without an idle timeout, a process that is frozen in a transaction (SIGSTOP, a suspended machine) would block all others until
    it wakes. With one, its transaction is rolled back and its next statement fails.
    """
    lock, idle = BUSY_TIMEOUT_MS, 2 * BUSY_TIMEOUT_MS
    settings = f"set_config('lock_timeout', '{lock}', true), set_config('idle_in_transaction_session_timeout', '{idle}', true)"
    return f"SELECT {settings}{'' if reading else ', txid_current()'}"


class LedgerDialect(pysqlite.dialect):
    """The dialect of SQLite, with writers that take the write lock when their transaction begins.

    A listener to the engine's `begin` would do the same but make SQLAlchemy look for listeners at every statement: a small
    transaction took 160 microseconds instead of 100.
    """

    driver = "dailies"
    supports_statement_cache = True

    def do_begin(self, dbapi_connection: sa.PoolProxiedConnection) -> None:
        """Begin a transaction, for writing unless the connection's info says that it only reads."""
        reads = dbapi_connection.info.pop(READING, False)
        cursor = dbapi_connection.cursor()
        cursor.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
        cursor.close()


registry.register("sqlite.dailies", __name__, LedgerDialect.__name__)


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "the ledger must be a file, since memory is lost when a process ends. Set DAILIES_LEDGER_URL."
        )
    path = Path(url.database).absolute()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the ledger's folder {path.parent}: {error.strerror}. Choose another with DAILIES_HOME."
        ) from None
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(
            f"the ledger's folder {path.parent} is not writable, and nothing is bought without it. Choose another with DAILIES_HOME."
        )
    filesystem = _filesystem_of(path.parent.resolve())
    if filesystem in NETWORK_FILESYSTEMS:
        raise ConfigurationError(
            f"the ledger {path} is on a network filesystem ({filesystem}), where SQLite cannot lock safely. "
            "Use a local disk, or PostgreSQL with DAILIES_LEDGER_URL."
        )
    make_private_file(path)
    patience = {"timeout": BUSY_TIMEOUT_MS / 1000}
    engine = sa.create_engine(f"sqlite+dailies:///{path}", connect_args=patience, json_serializer=json_text)

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        # pysqlite would begin transactions by itself, too late; `do_begin` begins ours
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute(f"PRAGMA page_size={PAGE_BYTES}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


def make_private_file(path: Path) -> None:
    """Create a database file that only this user can read; SQLite gives its companion files the same mode.

    A ledger holds the key of the webhooks' addresses. An error is ignored here, because opening the database reports it. An existing
    file is never opened: closing it would drop every lock that SQLite holds on it for this process, and a reader would then find the
    write-ahead log cut off ("disk I/O error"; sqlite.org/howtocorrupt.html, 2.2).
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _filesystem_of(folder: Path) -> str:
    """The filesystem type of a folder as Linux names it; empty if it is not known."""
    with contextlib.suppress(OSError):
        return filesystem_of(folder, Path("/proc/self/mounts").read_text())
    return ""


def filesystem_of(folder: Path, mounts: str) -> str:
    r"""The type of the filesystem a folder is on.

    Args:
        folder: Absolute, links resolved.
        mounts: A table of mounts as in `/proc/self/mounts`, which writes a space in a path as `\040`.
    """
    inside, deepest, kind = f"{folder}/", "", ""
    for line in mounts.splitlines():
        _device, escaped, filesystem, *_rest = line.split()
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped).rstrip("/")
        if inside.startswith(f"{mount}/") and len(mount) >= len(deepest):
            deepest, kind = mount, filesystem
    return kind


def _bring_up_to_date(engine: sa.Engine, shown: str) -> None:
    with outage.reading(engine) as connection:
        if _may_be_used(connection, _revision(connection)) and _reads_beside_writes(connection):
            return
    with _migration_lock(engine) as connection:
        revision = _revision(connection)
        if _may_be_used(connection, revision):
            return
        if revision is not None and revision > SCHEMA_REVISION:
            raise ConfigurationError(
                f"the ledger {shown} was written by a newer dailies (schema {revision}, this one knows {SCHEMA_REVISION}). "
                "Nothing was read or written. Update dailies."
            )
        if revision is None:
            _check_encoding(connection, shown)
        _migrate(connection)
        fact = {"key": _OLDEST_READER_FACT, "value": OLDEST_READER}
        connection.execute(sa.text("DELETE FROM meta WHERE key = :key"), {"key": _OLDEST_READER_FACT})
        connection.execute(sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)"), fact)


def _check_encoding(connection: sa.Connection, shown: str) -> None:
    """Refuse a new ledger in a PostgreSQL database that cannot hold every prompt, before anything is bought.

    An earlier ledger stays in use: its paid clips must be fetched.
    """
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.exec_driver_sql("SELECT current_setting('server_encoding')").scalar()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database {shown} has the encoding {encoding}, which cannot hold every prompt. Nothing was bought. Make another one for "
            "the ledger: CREATE DATABASE dailies TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'."
        )


def _may_be_used(connection: sa.Connection, revision: str | None) -> bool:
    """Whether this program may work on a schema: its own, or a newer one that still allows this program."""
    if revision is None or revision < SCHEMA_REVISION:
        return False
    if revision == SCHEMA_REVISION:
        return True
    oldest = _oldest_reader(connection)
    return oldest is not None and oldest <= SCHEMA_REVISION


def _oldest_reader(connection: sa.Connection) -> str | None:
    fact = sa.text("SELECT value FROM meta WHERE key = :key")
    return connection.execute(fact, {"key": _OLDEST_READER_FACT}).scalar()


def _revision(connection: sa.Connection) -> str | None:
    # SQLAlchemy's inspector would take a third of the time in which a ledger is opened, which each tick does
    if connection.exec_driver_sql(_HAS_REVISION[connection.dialect.name]).scalar() is None:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _reads_beside_writes(connection: sa.Connection) -> bool:
    """Whether readers and the writer never wait for each other: true on PostgreSQL, and on SQLite with a write-ahead log."""
    if connection.dialect.name != "sqlite":
        return True
    return connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def _let_read_beside_writes(engine: sa.Engine) -> None:
    """Switch a SQLite file to a write-ahead log, which the file then keeps.

    One process at a time: when two switch at once, SQLite does not wait but tells one that the database is locked.
    """
    with outage.reading(engine) as connection:
        if _reads_beside_writes(connection):
            return
    # not through SQLAlchemy: it would begin a transaction, in which SQLite does not switch
    with contextlib.closing(engine.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA journal_mode=WAL")


@contextlib.contextmanager
def _migration_lock(engine: sa.Engine) -> Iterator[sa.Connection]:
    """The one transaction in which one process at a time may migrate.

    SQLite has a lock file beside the database. PostgreSQL has an advisory lock of this transaction: behind a pooler a
    session's lock would outlive its holder.
    """
    with contextlib.ExitStack() as held:
        if engine.dialect.name == "sqlite":
            file = held.enter_context(Path(f"{engine.url.database}.migrating").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
            _let_read_beside_writes(engine)
        connection = held.enter_context(engine.begin())
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        yield connection


def _migrate(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def whereabouts(connection: sa.Connection) -> str:
    """Describe the database and how it is reached, without user and password.

    Behind a pooler, the session that answers differs from the one that the connection was opened with.
    """
    url = connection.engine.url
    if connection.dialect.name == "sqlite":
        return f"SQLite, {url.database}"
    version, session = connection.execute(
        sa.text("SELECT current_setting('server_version'), pg_backend_pid()")
    ).one()
    driver: Any = connection.connection.dbapi_connection
    direct = driver.info.backend_pid == session
    way = "reached directly" if direct else "behind a pooler or a proxy (any mode will do)"
    return f"PostgreSQL {version}, {shown_address(url)}, {way}"


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split keys into lists, each for one statement."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def insert_ignoring(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """An INSERT that leaves an existing row alone."""
    return insert_into(connection.dialect.name, table).on_conflict_do_nothing()


def insert_into(dialect: str, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that supports ON CONFLICT, of the given dialect."""
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 20 modules that a ledger in SQLite does not need

    return postgresql.insert(table)


def lock_subject(connection: sa.Connection, key: str) -> None:
    """Let one transaction at a time decide about a subject, from its first look to its commit.

    SQLite lets one writer in at a time. On PostgreSQL, a writer that stalls between look and insert would buy a clip that another one
    has bought and delivered meanwhile.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SUBJECT_LOCKS, sa.func.hashtext(key))))


def lock_money(connection: sa.Connection) -> None:
    """Let one transaction at a time change the counters, from its first look at them to its commit.

    A transaction that needs several locks takes them in this order, which prevents deadlocks: subject, attempts, their jobs and POSTs,
    money, account.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MONEY_LOCK)))
