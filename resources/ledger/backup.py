"""Copies of a SQLite ledger in a file: made while the ledger is in use, checked, and restored with the old ledger kept."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.address import parsed_address, shown_address
from resources.ledger.database import SCHEMA_REVISION, make_private_file
from resources.ledger.keys import DEDICATED

COMPANIONS = ("-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside a database."""


def back_up(url: str, target: Path) -> int:
    """Copy a ledger, which may be in use, into a file as of one moment.

    Args:
        url: The ledger's address; SQLite.
        target: The file to write; an existing file is never overwritten.

    Returns:
        The size of the copy in bytes.

    Raises:
        ConfigurationError: The ledger is not in SQLite (the text says what to do) or does not exist, or the file exists.
        UnavailableError: It could not be read or written.
    """
    source = _file(url, "back up", "pg_dump --format=custom --file={file} {url}", target)
    if not source.exists():
        raise ConfigurationError(f"there is no ledger at {source} yet, so there is nothing to back up")
    if target.exists():
        raise ConfigurationError(
            f"{target} exists already, and a copy never overwrites a file. Name a new file."
        )
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, unfinished)
        check_copy(unfinished)
        _flush(unfinished)
        os.link(unfinished, target)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"the ledger {source} could not be copied to {target}: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def restore(url: str, copy: Path) -> Path | None:
    """Replace a ledger with a copy. No process may be using the ledger.

    The copy may lack POSTs, so no earlier POST gets a job by elimination any more.

    Args:
        url: The ledger's address; SQLite.
        copy: The file that `back_up` made.

    Returns:
        Where the replaced ledger is now; None if there was none.

    Raises:
        ConfigurationError: The ledger is not in SQLite, or the copy is missing, damaged or from a newer dailies.
        UnavailableError: The ledger is in use, or a file could not be written.
    """
    place = _file(url, "restore", "pg_restore --clean --if-exists --dbname={url} {file}", copy)
    if not copy.is_file():
        raise ConfigurationError(f"there is no copy at {copy}")
    check_copy(copy)
    unfinished = place.with_name(f"{place.name}.unfinished")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _copy(copy, unfinished)
        _distrust_earlier_posts(unfinished)
        _flush(unfinished)
        aside = _put_aside(place)
        unfinished.rename(place)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(
            f"the ledger {place} could not be replaced with the copy {copy}: {error}"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return aside


def check_copy(copy: Path) -> None:
    """Check that a file is a whole ledger that this program can read.

    Raises:
        ConfigurationError: It is not.
    """
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            connection.execute("SELECT count(*) FROM journal").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise ConfigurationError(f"{copy} is not a copy of a ledger: {error}") from None
    if sound != "ok":
        raise ConfigurationError(f"the copy {copy} is damaged: {sound}")
    if revision > SCHEMA_REVISION:
        raise ConfigurationError(
            f"the copy {copy} was written by a newer dailies (schema {revision}, this one knows {SCHEMA_REVISION}). Update dailies."
        )


def _file(url: str, verb: str, instead: str, file: Path) -> Path:
    parsed = parsed_address(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        command = instead.format(file=file, url=f"'{shown_address(parsed)}'")
        raise ConfigurationError(
            f"this ledger lives in PostgreSQL, which has its own tools to {verb} it: {command}"
        )
    return Path(parsed.database).absolute()


def _copy(source: Path, target: Path) -> None:
    """Copy a database through SQLite, which waits for writers and copies one consistent state."""
    target.unlink(missing_ok=True)
    make_private_file(target)
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)
        # the copy is one file, without companions
        writing.execute("PRAGMA journal_mode=DELETE")


def _distrust_earlier_posts(place: Path) -> None:
    """See `keys.distrust_earlier_posts`: the completion sensor searches for lost jobs also before the rebuild."""
    now = time.time()
    with closing(sqlite3.connect(place)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(accounts)")}
        if "key_use" not in columns:
            return  # the copy is older than the statement, which then begins after its POSTs
        connection.execute(
            "UPDATE accounts SET key_use_since = ? WHERE key_use = ? AND key_use_since < ?",
            (now, DEDICATED, now),
        )
        connection.commit()


def _put_aside(place: Path) -> Path | None:
    """Move a ledger away with its companions, unless somebody is writing to it."""
    if not place.exists():
        return None
    with closing(sqlite3.connect(place, timeout=1, isolation_level=None)) as connection:
        # this fails while another process has the database open; afterwards no companion file is left to move
        connection.execute("PRAGMA journal_mode=DELETE")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = place.with_name(f"{place.name}.before-restore-{stamp}")
    shutil.move(place, aside)
    for companion in COMPANIONS:
        Path(f"{place}{companion}").unlink(missing_ok=True)
    return aside


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
