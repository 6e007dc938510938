"""Hosts that were refused, kept in the ledger so that `doctor`, alarms and metrics show them on every host.

A row is removed when its host agrees again, or a day after the host last tried to buy.
"""

import socket
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.shared_tables import refused_hosts as rows

MOST_HOSTS = 200
"""The most rows that are kept: hosts of one run each, such as pods, each have another name."""
SHOWN_SECONDS = 86_400.0
NOTED_AGAIN_SECONDS = 600.0
"""How often a host that keeps trying renews its row."""


class About(StrEnum):
    """The subject of a disagreement between a host and the ledger."""

    POLICY = "policy"
    """Caps, limits or settle times."""
    DATA = "data"
    """The data folder."""


class RefusedHost(NamedTuple):
    """A host that may not buy."""

    host: str
    """Its name."""
    about: About
    """The subject of the disagreement."""
    why: str
    """The host's and the ledger's values, for a person."""
    since: float
    """When it was first refused for this reason, in seconds since the epoch."""
    at: float
    """When it was last refused."""


def note(ledger: Ledger, about: About, why: str) -> None:
    """Record that this host was refused."""
    host = _this_host()
    mine = sa.and_(rows.c.host == host, rows.c.about == about.value)
    with ledger.read() as connection:
        known = connection.execute(sa.select(rows).where(mine)).first()
        now = ledger.clock()
    if known is not None and known.why == why and abs(now - known.at) < NOTED_AGAIN_SECONDS:
        return
    with ledger.write() as connection:
        now = ledger.clock()
        since = known.since if known is not None and known.why == why else now
        connection.execute(sa.delete(rows).where(sa.or_(mine, rows.c.at < now - SHOWN_SECONDS)))
        newest = sa.select(rows.c.at).order_by(rows.c.at.desc()).offset(MOST_HOSTS - 1).limit(1)
        oldest_kept = connection.execute(newest).scalar()
        if oldest_kept is not None:
            connection.execute(sa.delete(rows).where(rows.c.at <= oldest_kept))
        values = {"host": host, "about": about.value, "why": why, "since": since, "at": now}
        connection.execute(sa.insert(rows).values(values))


def end(ledger: Ledger, about: About) -> None:
    """Record that this host agrees again."""
    mine = sa.and_(rows.c.host == _this_host(), rows.c.about == about.value)
    with ledger.read() as connection:
        if connection.execute(sa.select(rows.c.host).where(mine)).first() is None:
            return
    with ledger.write() as connection:
        connection.execute(sa.delete(rows).where(mine))


def refused(ledger: Ledger) -> list[RefusedHost]:
    """The hosts that were refused within the last day, by name."""
    with ledger.read() as connection:
        return read(connection, ledger.clock())


def read(connection: sa.Connection, now: float) -> list[RefusedHost]:
    """The hosts that were refused within the last day, read in the caller's transaction."""
    hosts = connection.execute(
        sa.select(rows).where(rows.c.at > now - SHOWN_SECONDS).order_by(rows.c.host, rows.c.about)
    )
    return [RefusedHost(row.host, About(row.about), row.why, row.since, row.at) for row in hosts]


def _this_host() -> str:
    return socket.gethostname()[:64]
