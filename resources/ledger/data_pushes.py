"""The data folder that is current on every host, and the data folder of each decision."""

from typing import NamedTuple

import sqlalchemy as sa

from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import NOT_DELIVERED, attempts
from resources.ledger.shared_tables import data_pushes, decision_data
from resources.ledger.states import AttemptState

_NEWEST = sa.select(data_pushes).order_by(data_pushes.c.seq.desc()).limit(1)
_OF_DECISION = sa.select(decision_data.c.digest).where(decision_data.c.decision == sa.bindparam("decision"))


class DataPush(NamedTuple):
    """A data folder that somebody made current."""

    seq: int
    """Its place in the history."""
    digest: str
    """See `resources.shared_data.snapshot`; its archive in the bucket has this name."""
    files: int
    """The number of files."""
    bytes: int
    """The size of all files together, in bytes."""
    at: float
    """When it was pushed, in seconds since the epoch."""
    who: str
    """The person and the host, with its version of dailies, whose catalogue was pushed with the folder."""
    note: str
    """The person's note."""


def push(ledger: Ledger, digest: str, *, files: int, size: int, who: str, note: str) -> DataPush:
    """Make a data folder current whose archive is in the bucket; no change if it already is."""
    with ledger.write() as connection:
        row = connection.execute(_NEWEST).first()
        if row is None or row.digest != digest:
            values = {"digest": digest, "files": files, "bytes": size, "who": who, "note": note}
            connection.execute(sa.insert(data_pushes).values(at=ledger.clock(), **values))
        return DataPush(*connection.execute(_NEWEST).one())


def current(ledger: Ledger) -> DataPush | None:
    """The data folder that is current on every host; None before the first push, when each host uses its own folder."""
    with ledger.read() as connection:
        row = connection.execute(_NEWEST).first()
    return None if row is None else DataPush(*row)


def pushes(ledger: Ledger) -> list[DataPush]:
    """Every push, oldest first."""
    with ledger.read() as connection:
        return [
            DataPush(*row) for row in connection.execute(sa.select(data_pushes).order_by(data_pushes.c.seq))
        ]


def name_for(ledger: Ledger, decision: str, digest: str) -> str:
    """Record the data folder of a decision, unless one is recorded; returns the recorded digest."""
    with ledger.write() as connection:
        insert = insert_ignoring(connection, decision_data)
        connection.execute(insert.values(decision=decision, digest=digest))
        return str(connection.execute(_OF_DECISION, {"decision": decision}).scalar_one())


def of_decision(ledger: Ledger, decision: str) -> str | None:
    """The digest of a decision's data folder; None if none was recorded."""
    with ledger.read() as connection:
        return connection.execute(_OF_DECISION, {"decision": decision}).scalar()


def of_unsent(ledger: Ledger) -> list[str]:
    """The digests of the pushed folders that queued purchases, and those being sent, still need.

    A finish needs the folder of its draft.
    """
    states = [AttemptState.QUEUED.value, AttemptState.SUBMITTING.value]
    mine = (NOT_DELIVERED, attempts.c.state.in_(states))
    of_all: set[str] = set()
    with ledger.read() as connection:
        # separate queries: for a join, PostgreSQL reads every decision there ever was
        unsent = set(connection.execute(sa.select(attempts.c.decision).where(*mine)).scalars())
        drafts = sa.select(attempts.c.finishes).where(*mine, attempts.c.finishes.is_not(None))
        for some in chunks(list(connection.execute(drafts).scalars())):
            of_drafts = sa.select(attempts.c.decision).where(attempts.c.id.in_(some))
            unsent.update(connection.execute(of_drafts).scalars())
        for some in chunks(sorted(unsent)):
            digests = sa.select(decision_data.c.digest).where(
                decision_data.c.decision.in_(some),
                decision_data.c.digest.in_(sa.select(data_pushes.c.digest)),
            )
            of_all.update(connection.execute(digests.distinct()).scalars())
    return sorted(of_all)
