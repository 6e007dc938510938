"""Opening the ledger's database: safe defaults for SQLite, the same code on PostgreSQL, migrations, refusals.

The ledger guards money, so a database that cannot promise what it needs (a network filesystem under SQLite, a schema
from a newer dailies) is refused with a sentence instead of used.

What is asked at every tick is a constant of its module, with `bindparam`: to build a query and find its text in the cache
takes SQLAlchemy four times as long as SQLite takes to answer it (`docs/performance.md`).
"""

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from resources.errors import ConfigurationError, UnavailableError
from resources.plain import name
from resources.spellings import Spellings

T = TypeVar("T")

SCHEMA_REVISION = "0011"
"""The newest migration this program knows."""

BUSY_TIMEOUT_MS = 30_000
"""How long anybody waits for a lock in the database."""
CHUNK = 500
"""Keys per IN list; SQLite allows 32,766 parameters, and short statements keep other writers waiting less."""
SLEPT_TOO_LONG = "25P03"
"""PostgreSQL's code for having ended the session of a process that slept in a transaction."""
MIGRATION_LOCK = 7_246_001
SUBJECT_LOCKS = 7_246_002
MONEY_LOCK = 7_246_003
"""Names of PostgreSQL's advisory locks."""
_USER = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?")
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")
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


def open_database(url: str) -> sa.Engine:
    """Connect to the ledger's database, bring its schema up to date, and refuse what is unsafe.

    Args:
        url: `sqlite:///path/to/ledger.db`, or `postgresql+psycopg2://...` for several machines.

    Raises:
        ConfigurationError: The address is not usable, the folder is not writable or on a network filesystem, or the
            database was written by a newer dailies.
        UnavailableError: The database does not answer.
    """
    parsed = parsed_address(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = _open_sqlite(parsed)
    elif backend == "postgresql":
        # a bare postgresql:// means psycopg 3 since SQLAlchemy 2.1; dailies brings psycopg2
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg2"),
            pool_pre_ping=True,
            connect_args={"options": _patience(parsed)},
        )
    else:
        raise ConfigurationError(
            f"the ledger cannot live in {backend!r}; allowed: sqlite, postgresql. Set DAILIES_LEDGER_URL."
        )
    shown, secrets = shown_address(parsed), _secrets(parsed)
    try:
        _bring_up_to_date(engine, shown)
    except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
        engine.dispose()
        raise UnavailableError(
            f"the ledger's database {shown} does not answer: {_first_line(error, secrets)}. Nothing was bought by asking; what it holds is not known until it answers. "
            "Check the address and that the server runs or the folder is writable, then try again."
        ) from None
    except sa.exc.DatabaseError as error:
        engine.dispose()
        raise ConfigurationError(
            f"the ledger's database {shown} cannot be used: {_first_line(error, secrets)}. Nothing was bought by asking, and nothing is without it. "
            "If it was a ledger, restore it from a backup; otherwise set DAILIES_LEDGER_URL to another place."
        ) from None
    return engine


def parsed_address(url: str) -> sa.URL:
    """The address taken apart, if its password can only be where it seems to be; no error shows any of it.

    An `@` in a password ends it too early, and the host would be shown with the password's end.

    Raises:
        ConfigurationError: It is not a database's address, or one that can be read in two ways.
    """
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        known = False
    else:
        before = _USER.match(url.partition("://")[2])
        user, rest = (before[0], url.partition("://")[2][before.end() :]) if before else ("", "")
        misread = "@" in rest or re.search(r"\?.*=", user) or not _HOST.fullmatch(parsed.host or "")
        known = not (misread if parsed.get_backend_name() == "postgresql" else parsed.host or user)
    if not known:
        raise ConfigurationError(
            "the ledger's address is not a database URL; allowed: sqlite:///path/to/ledger.db or "
            "postgresql+psycopg2://user:password@host/name, with @ / ? # : and % in the user or the password written as "
            "%40 %2F %3F %23 %3A and %25. Set DAILIES_LEDGER_URL."
        ) from None
    return parsed


def shown_address(url: sa.URL) -> str:
    """The address for a person: nothing of its user, password and query."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _secrets(url: sa.URL) -> Spellings:
    """The password, and those that a query may hold (libpq takes `password` and `sslpassword` there)."""
    said = [url.password, *(value for key, value in url.query.items() if "pass" in key)]
    return Spellings(*(text for text in said if isinstance(text, str)), instead="[password]")


def _patience(url: sa.URL) -> str:
    """How long PostgreSQL lets a session wait for a lock, and hold what others wait for without doing anything.

    A process that is frozen in a transaction (SIGSTOP, a suspended machine) would otherwise stop every other for as long
    as it sleeps. Its transaction is undone, and its next statement fails.
    """
    theirs = url.query.get("options", "")
    ours = f"-c lock_timeout={BUSY_TIMEOUT_MS} -c idle_in_transaction_session_timeout={2 * BUSY_TIMEOUT_MS}"
    return f"{ours} {theirs if isinstance(theirs, str) else ' '.join(theirs)}".strip()


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "the ledger must be a file: what is only in memory is forgotten. Set DAILIES_LEDGER_URL."
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
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        # pysqlite would open transactions by itself, and late; ours begin where we say
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def make_private_file(path: Path) -> None:
    """Make a database's file, where there is none, that only this user reads; SQLite makes those beside it like it.

    A ledger holds the key of the webhooks' addresses. What keeps the file from being made is told when it is opened. One that
    exists is never opened here: to close it again would take every lock that SQLite holds on it for this process, and whoever
    reads then finds the write-ahead log cut off ("disk I/O error"; sqlite.org/howtocorrupt.html, 2.2).
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _filesystem_of(folder: Path) -> str:
    """The filesystem type of a folder as Linux names it, empty where that cannot be told."""
    with contextlib.suppress(OSError):
        return filesystem_of(folder, Path("/proc/self/mounts").read_text())
    return ""


def filesystem_of(folder: Path, mounts: str) -> str:
    r"""The type of the filesystem a folder is on.

    Args:
        folder: Absolute, links resolved.
        mounts: A table of mounts as in `/proc/self/mounts`, which writes a space in a path as `\040`.
    """
    deepest, kind = Path("/"), ""
    for line in mounts.splitlines():
        _device, escaped, filesystem, *_rest = line.split()
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped))
        if folder.is_relative_to(mount) and mount.is_relative_to(deepest):
            deepest, kind = mount, filesystem
    return kind


def _bring_up_to_date(engine: sa.Engine, shown: str) -> None:
    if _revision(engine) == SCHEMA_REVISION and _reads_beside_writes(engine):
        return
    with _migration_lock(engine):
        _let_read_beside_writes(engine)
        revision = _revision(engine)
        if revision is not None and revision > SCHEMA_REVISION:
            raise ConfigurationError(
                f"the ledger {shown} was written by a newer dailies (schema {revision}, this one knows {SCHEMA_REVISION}). "
                "Nothing was read or written. Update dailies."
            )
        if revision != SCHEMA_REVISION:
            _migrate(engine)


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect().execution_options(reading=True) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _reads_beside_writes(engine: sa.Engine) -> bool:
    """Whether readers and the writer do not wait for each other: always on PostgreSQL, on SQLite with a write-ahead log."""
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect().execution_options(reading=True) as connection:
        return connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def _let_read_beside_writes(engine: sa.Engine) -> None:
    """Give a SQLite file its write-ahead log, which the file then keeps.

    By one process at a time: SQLite does not wait when two switch at once, it tells one that the database is locked.
    """
    if _reads_beside_writes(engine):
        return
    # past SQLAlchemy, which would begin a transaction, where SQLite does not change it
    with contextlib.closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA journal_mode=WAL")


@contextlib.contextmanager
def _migration_lock(engine: sa.Engine) -> Iterator[None]:
    """Let one process migrate: SQLite by a lock file beside the database, PostgreSQL by an advisory lock."""
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.migrating").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        with engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(MIGRATION_LOCK)))
                connection.commit()


def _migrate(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _first_line(error: Exception, secrets: Spellings) -> str:
    """What a driver says, without the password that it may repeat."""
    return name((secrets.hide(str(error)).splitlines() or [type(error).__name__])[0], longest=500)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Keys in pieces for one statement each."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def insert_ignoring(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """An INSERT that leaves an existing row alone; both dialects have it, each for itself."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def lock_subject(connection: sa.Connection, key: str) -> None:
    """Let one transaction at a time decide about a subject, from its first look to its commit.

    SQLite's writers go one at a time anyway. PostgreSQL's do not, and one that stalls between look and insert would buy
    what another has bought and delivered meanwhile.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SUBJECT_LOCKS, sa.func.hashtext(key))))


def lock_money(connection: sa.Connection) -> None:
    """Let one transaction at a time change what is spent, from its first look at the counters to its commit.

    Whoever needs several locks takes them in this order, so that nobody waits in a circle: subject, attempts, money,
    account.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MONEY_LOCK)))


def does_not_answer(error: sa.exc.DBAPIError) -> bool:
    """Whether the database is locked, full or gone, or has ended our session, as opposed to refusing what we ask."""
    slept = getattr(error.orig, "pgcode", None) == SLEPT_TOO_LONG
    return isinstance(error, sa.exc.OperationalError) or error.connection_invalidated or slept
