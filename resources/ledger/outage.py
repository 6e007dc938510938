"""Outages of the PostgreSQL server: waiting for it, repeating transactions, and finding out what became of a lost COMMIT.

Beginning a transaction waits until the server answers. A transaction that breaks off was not recorded, so it may be repeated as a
whole (`repeat_unrecorded`). A COMMIT whose answer was lost is never repeated; the server is asked what became of it.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from resources.errors import UnavailableError
from resources.ledger.address import secrets_of
from resources.plain import name

P = ParamSpec("P")
T = TypeVar("T")

RIDE_OUT_SECONDS = 120.0
"""How long a run waits for the database: a server that restarts, moves to another machine or wakes up needs up to a minute."""
PATIENCE_SECONDS = 10.0
"""How long commands and sensors' ticks wait; Dagster ends a tick after 60 s."""
PAUSE_SECONDS = 1.0
"""The pause between two tries to reach the server."""

TRANSACTION_ID = "transaction id"
"""Key of `Connection.info` under which `database.py` keeps the id of the transaction that is open."""
READING = "reading"
"""Key of `Connection.info` which tells the next transaction to take no lock; `database.py` removes it."""

SLEPT_TOO_LONG = "25P03"
_GONE = {
    # ended by an administrator, by a crash, or still starting; no place left; sent to a standby during a failover
    "57P01",
    "57P02",
    "57P03",
    "53300",
    "25006",
    SLEPT_TOO_LONG,
}
_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|role .* does not exist|database .* does not exist|no such (user|database)"
    r"|tenant or user not found|unsupported startup parameter|certificate|does not support SSL|SSL .*required"
    r"|endpoint ID is not specified|permission denied|no password supplied|not permitted to log in",
    re.IGNORECASE,
)
"""Errors of a server, a pooler or a hosting service that waiting does not end. They are recognized by their texts, because libpq gives
no code for a failed connection."""
_STATUS = sa.text("SELECT txid_status(:id)")


class LedgerAwayError(UnavailableError):
    """The database went away in the middle of a transaction. Nothing was recorded, so the transaction may be repeated."""


class CommitUnknownError(UnavailableError):
    """The answer to a COMMIT was lost, and the database does not say what became of it. It must not be repeated."""


def repeat_unrecorded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a ledger function, and run it again when the database went away in one of its transactions.

    A function of one transaction has then done nothing. A function of several (one for each clip) must find what its earlier
    transactions recorded, as it does when its run is retried.

    Raises:
        UnavailableError: The database stays away.
    """
    give_up = time.monotonic() + RIDE_OUT_SECONDS
    while True:
        try:
            return function(*args, **kwargs)
        except LedgerAwayError:
            if time.monotonic() > give_up:
                raise


@contextlib.contextmanager
def transaction(
    engine: sa.Engine, *, writing: bool, patience: float, begun: Callable[[sa.Connection], None]
) -> Iterator[sa.Connection]:
    """One transaction, once the database answers.

    Args:
        engine: From `database.open_database`.
        writing: Whether it may write; a reader takes no lock on SQLite.
        patience: How long to wait for a server that does not answer, in seconds.
        begun: Called as soon as the transaction has begun.

    Raises:
        LedgerAwayError: The database went away within the transaction; nothing was recorded.
        CommitUnknownError: Whether it was recorded is not known.
        UnavailableError: The database is locked for too long or full, or stays away; nothing was recorded.
    """
    verb = "written" if writing else "read"
    try:
        with _begin(engine, writing=writing, patience=patience, begun=begun) as connection:
            yield connection
            _commit(connection, patience=patience)
    except sa.exc.DBAPIError as error:
        if is_away(engine, error):
            raise LedgerAwayError(
                f"the ledger could not be {verb}: its database went away ({first_line(error, engine)}). Nothing of this step "
                "was recorded. Check that the server runs and that this machine reaches it, then run it again."
            ) from error
        if not isinstance(error, sa.exc.OperationalError):
            raise
        raise UnavailableError(
            f"the ledger could not be {verb}: {first_line(error, engine)}. Nothing of this step was recorded. "
            "Free the disk or the lock, then run it again."
        ) from error


def reading(engine: sa.Engine) -> sa.Connection:
    """A connection in a transaction that takes no lock on SQLite; closing the connection ends the transaction."""
    connection = engine.connect()
    connection.info[READING] = True
    connection.begin()
    return connection


def _begin(
    engine: sa.Engine, *, writing: bool, patience: float, begun: Callable[[sa.Connection], None]
) -> sa.Connection:
    """A connection with a transaction that the server has answered to."""
    give_up = time.monotonic() + patience
    stale = True
    while True:
        connection: sa.Connection | None = None
        try:
            connection = engine.connect()
            connection.info[READING] = not writing
            connection.begin()
            begun(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not isinstance(error, sa.exc.DBAPIError) or not is_away(engine, error):
                raise
            if not stale and time.monotonic() >= give_up:
                verb = "written" if writing else "read"
                raise UnavailableError(
                    f"the ledger could not be {verb}: its database does not answer ({first_line(error, engine)}; tried for "
                    f"{patience:.0f} s). Nothing of this step was recorded. Check that the server runs and that this machine "
                    "reaches it, then run it again."
                ) from error
            # a pooled connection may be dead while the server lives, so repeat the first try at once on a new connection
            if not stale:
                time.sleep(PAUSE_SECONDS)
            stale = False
        else:
            return connection


def _commit(connection: sa.Connection, *, patience: float) -> None:
    """Commit; if the answer is lost, find out what became of it."""
    engine, transaction_id = connection.engine, connection.info.pop(TRANSACTION_ID, None)
    try:
        connection.commit()
    except sa.exc.DBAPIError as error:
        if transaction_id is None or not is_away(engine, error):
            raise
        if _was_committed(engine, transaction_id, patience=patience):
            return
        raise


def _was_committed(engine: sa.Engine, transaction_id: int, *, patience: float) -> bool:
    """Whether a transaction was committed by PostgreSQL's commit log, which covers the last months.

    A transaction that is still in progress belongs to a session that lost its client: `idle_in_transaction_session_timeout` ends it,
    or its COMMIT arrives.

    Raises:
        CommitUnknownError: The server stays away, or is another one that never saw the transaction.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            with reading(engine) as connection:
                status = connection.execute(_STATUS, {"id": transaction_id}).scalar()
            if status in {"committed", "aborted"}:
                return bool(status == "committed")
            why = f"the transaction is {status or 'too old to be looked up'}"
        except sa.exc.DBAPIError as error:
            why = first_line(error, engine)
            if not is_away(engine, error):
                break
        if time.monotonic() >= give_up:
            break
        time.sleep(PAUSE_SECONDS)
    raise CommitUnknownError(
        f"the answer to a COMMIT of the ledger was lost, and its database does not say what became of it ({why}). It is not "
        "repeated. What was recorded shows when the ledger answers again: `dailies status`."
    )


def is_away(engine: sa.Engine, error: sa.exc.DBAPIError) -> bool:
    """Whether the server is gone but may come back by itself, instead of refusing, full or locked."""
    if engine.dialect.name != "postgresql":
        return False
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "pgcode", None)
    if code is not None:
        return code in _GONE or code.startswith("08")
    return isinstance(error, sa.exc.OperationalError) and not _REFUSED.search(str(error.orig))


def first_line(error: Exception, engine: sa.Engine) -> str:
    """The first line of a driver's error, without the password that it may repeat."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return name(
        (secrets_of(engine.url).hide(str(cause)).splitlines() or [type(cause).__name__])[0], longest=500
    )
