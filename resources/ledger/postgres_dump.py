"""Dumps of a ledger in PostgreSQL, made and restored by PostgreSQL's own programs.

A program gets the address in a file that only this user can read, because others can see its arguments and its environment.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.address import for_psycopg, parsed_address, secrets_of, shown_address
from resources.ledger.database import make_private_file
from resources.ledger.outage import first_line
from resources.plain import shown

PROGRAM_SECONDS = 3600.0
"""How long a dump or a restore may take."""
_SERVICE = "dailies"
_KEPT = ("PATH", "HOME", "LANG", "TZ")
"""The variables that the programs need."""


def dump(url: str, target: Path) -> None:
    """Dump a ledger, which may be in use, into a file as of one moment.

    Args:
        url: The ledger's address; the PostgreSQL server itself, not a pooler.
        target: The file to write, in PostgreSQL's custom format.

    Raises:
        ConfigurationError: `pg_dump` is not installed.
        UnavailableError: It failed.
    """
    make_private_file(target)
    _run(
        "pg_dump", url, target.parent, ["--format=custom", f"--file={target}", f"--dbname=service={_SERVICE}"]
    )


def restore_dump(url: str, copy: Path) -> None:
    """Restore a dump into an empty database, whole or not at all.

    Raises:
        ConfigurationError: `pg_restore` is not installed.
        UnavailableError: It failed, e.g. because the file is no whole dump.
    """
    arguments = ["--exit-on-error", "--single-transaction", f"--dbname=service={_SERVICE}", str(copy)]
    _run("pg_restore", url, copy.parent, arguments)


@contextlib.contextmanager
def scratch_database(url: str, name: str) -> Iterator[str]:
    """The address of an empty database on a ledger's server, which is dropped at the end.

    Args:
        name: The database's name. A database of this name was left by a process that died, and is replaced.

    Raises:
        UnavailableError: The server does not answer, or this user may not create databases.
    """
    parsed = for_psycopg(parsed_address(url))
    if parsed.database == name:
        raise AssertionError("a ledger's own database is no scratch database")
    engine = sa.create_engine(parsed, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    try:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(drop)
                # as the ledger's: the server's own encoding may be another
                kind = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
                connection.exec_driver_sql(f'CREATE DATABASE "{name}" {kind}')
        except sa.exc.DBAPIError as error:
            raise UnavailableError(
                f"no scratch database could be created beside {shown_address(parsed)}: {first_line(error, engine)}. A copy is verified by "
                'restoring it: allow the user to create databases (ALTER ROLE "..." CREATEDB), or set DAILIES_BACKUP_URL to the '
                "address of a user that may."
            ) from None
        try:
            yield parsed.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            # a database that cannot be dropped now is dropped before the next copy
            with contextlib.suppress(sa.exc.DBAPIError), engine.connect() as connection:
                connection.exec_driver_sql(drop)
    finally:
        engine.dispose()


def _run(program: str, url: str, folder: Path, arguments: list[str]) -> None:
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(
            f"{program} is not installed here, so a ledger in PostgreSQL cannot be copied and verified. Install PostgreSQL's client "
            "programs on every host of runs, in the server's version or a newer one (Debian: apt install postgresql-client)."
        )
    parsed = parsed_address(url)
    service = folder / "service.conf"
    service.unlink(missing_ok=True)
    make_private_file(service)
    service.write_text(_service_of(parsed))
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    common = ["--no-owner", "--no-privileges", "--no-password"]
    try:
        finished = subprocess.run(  # noqa: S603 - a fixed program with our own arguments
            [path, *common, *arguments],
            env={**environment, "PGSERVICEFILE": str(service)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = (
            f"it took longer than {PROGRAM_SECONDS:.0f} s"
            if isinstance(error, subprocess.TimeoutExpired)
            else str(error)
        )
        raise UnavailableError(f"{program} failed for {shown_address(parsed)}: {why}") from None
    finally:
        service.unlink(missing_ok=True)
    if finished.returncode:
        output = secrets_of(parsed).hide(finished.stderr.decode(errors="replace"))
        remedy = (
            f"Install a {program} of the server's version or a newer one."
            if "version mismatch" in output
            else "A pooler cannot be dumped through: set DAILIES_BACKUP_URL to the server's own address."
        )
        raise UnavailableError(
            f"{program} failed for {shown_address(parsed)}: {shown(output, longest=1000)}. {remedy}"
        )


def _service_of(url: sa.URL) -> str:
    """The address in the format of libpq's service file: one keyword a line, nothing quoted."""
    plain = for_psycopg(url)
    settings = {
        "host": plain.host,
        "port": plain.port,
        "user": plain.username,
        "password": plain.password,
        "dbname": plain.database,
        **plain.query,
    }
    lines = [f"{name}={value}" for name, value in settings.items() if value not in {None, ""}]
    if any("\n" in line or "\r" in line for line in lines):
        raise ConfigurationError(
            "the ledger's address has a line break in it, which PostgreSQL's programs cannot read"
        )
    return "\n".join([f"[{_SERVICE}]", *lines, ""])
