"""Heartbeats of runs: which runs are alive by the ledger's clock, whatever Dagster calls them.

A run renews its claim while it works. The transaction that reads a claim as expired takes it: from then on the run is lost for
every process, and for itself when it comes back (a stopped process, a machine that slept). So a run and those who collect its
clips never both continue.
"""

from collections.abc import Collection

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.outage import RIDE_OUT_SECONDS
from resources.ledger.schema import heartbeats
from resources.ledger.times import CLOCKS_SECONDS

LEASE_SECONDS = RIDE_OUT_SECONDS + 60.0
"""How long a claim holds without a renewal. A run that waits for the ledger's database cannot renew its claim, and must not
look dead to the first process that reads the ledger again."""
RENEW_SECONDS = 5.0
GRACE_SECONDS = 180.0
"""How long a run that Dagster calls started may take to its first claim: on a slow machine a worker loads code for long."""
TOMBSTONE_SECONDS = 30 * 86_400.0

_LOST = sa.select(heartbeats.c.lost_at).where(heartbeats.c.run_id == sa.bindparam("run_id"))
_LOST_LOCKED = _LOST.with_for_update(read=True)


class RunLostError(DailiesError):
    """The run has not renewed its claim in time, and others continue its work."""


def begin(ledger: Ledger, run_id: str, owner: str) -> None:
    """Claim a run for the process that carries it out.

    Args:
        run_id: Dagster's id.
        owner: Names the process; `renew` and `end` need the same.

    Raises:
        RunLostError: The run was lost before its first claim.
    """
    with ledger.write() as connection:
        until = ledger.clock() + LEASE_SECONDS
        connection.execute(
            insert_ignoring(connection, heartbeats).values(run_id=run_id, owner=owner, until=until)
        )
        mine = heartbeats.c.run_id == run_id
        connection.execute(
            sa.update(heartbeats).where(mine, heartbeats.c.lost_at.is_(None)).values(owner=owner, until=until)
        )
        require(connection, run_id)


def renew(ledger: Ledger, run_id: str, owner: str) -> bool:
    """Renew the claim for another lease; False when it was taken."""
    with ledger.write() as connection:
        renewed = connection.execute(
            sa.update(heartbeats)
            .where(
                heartbeats.c.run_id == run_id,
                heartbeats.c.owner == owner,
                heartbeats.c.lost_at.is_(None),
            )
            .values(until=ledger.clock() + LEASE_SECONDS)
        )
        return renewed.rowcount == 1


def end(ledger: Ledger, run_id: str, owner: str) -> None:
    """Release the claim at the end of the run. A claim that was taken stays taken."""
    with ledger.write() as connection:
        connection.execute(
            sa.delete(heartbeats).where(
                heartbeats.c.run_id == run_id,
                heartbeats.c.owner == owner,
                heartbeats.c.lost_at.is_(None),
            )
        )


def require(connection: sa.Connection, run_id: str | None) -> None:
    """Refuse to act for a run whose claim was taken; outside of runs, nothing is refused.

    Args:
        connection: The transaction in which the run acts.
        run_id: Dagster's id, None outside of runs.

    Raises:
        RunLostError: The claim was taken.
    """
    if run_id is None:
        return
    lost = connection.execute(_LOST_LOCKED, {"run_id": run_id}).scalar()
    if lost is not None:
        raise RunLostError(
            f"the run {run_id} gave no sign of life for {LEASE_SECONDS:.0f} s or more, so its clips were left to the completion "
            "sensor and to its retry. It stops here: it buys and reports nothing more."
        )


def check(ledger: Ledger, run_id: str | None) -> None:
    """`require` in a transaction of its own.

    Raises:
        RunLostError: The claim was taken.
    """
    with ledger.read() as connection:
        require(connection, run_id)


def lost(ledger: Ledger, started: Collection[str]) -> dict[str, float]:
    """Which of some runs are lost, and since when. Takes expired claims, so that their holders cannot renew them.

    Args:
        started: Runs that Dagster calls started. A run without a claim has `GRACE_SECONDS` for its first one, from now on.

    Returns:
        Seconds since the epoch, by the run's id.
    """
    found: dict[str, float] = {}
    if not started:
        return found
    with ledger.write() as connection:
        now = ledger.clock()
        for some in chunks(sorted(started)):
            connection.execute(
                insert_ignoring(connection, heartbeats),
                [{"run_id": run_id, "until": now + GRACE_SECONDS} for run_id in some],
            )
            theirs = heartbeats.c.run_id.in_(some)
            # a clock that was ahead has set this claim: it holds for a lease from now on, since its run may live
            ahead = heartbeats.c.until > now + GRACE_SECONDS + CLOCKS_SECONDS
            connection.execute(sa.update(heartbeats).where(theirs, ahead).values(until=now + LEASE_SECONDS))
            connection.execute(
                sa.update(heartbeats)
                .where(theirs, heartbeats.c.lost_at.is_(None), heartbeats.c.until < now)
                .values(lost_at=now)
            )
            rows = connection.execute(
                sa.select(heartbeats.c.run_id, heartbeats.c.lost_at).where(
                    theirs, heartbeats.c.lost_at.is_not(None)
                )
            )
            found.update({str(run_id): float(at) for run_id, at in rows})
        connection.execute(sa.delete(heartbeats).where(heartbeats.c.until < now - TOMBSTONE_SECONDS))
    return found


def owners(ledger: Ledger) -> dict[str, str]:
    """The process that claims each living run, by the run's id."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(heartbeats.c.run_id, heartbeats.c.owner).where(
                heartbeats.c.lost_at.is_(None), heartbeats.c.owner.is_not(None)
            )
        )
        return {str(run_id): str(owner) for run_id, owner in rows}


def any_lost(ledger: Ledger) -> bool:
    """Whether a run was lost lately."""
    with ledger.read() as connection:
        return (
            connection.execute(
                sa.select(sa.func.count()).where(heartbeats.c.lost_at.is_not(None))
            ).scalar_one()
            > 0
        )


def take(ledger: Ledger, run_id: str, owner: str) -> None:
    """Take the claim of a process that has ended, without waiting until the claim expires."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(heartbeats)
            .where(
                heartbeats.c.run_id == run_id,
                heartbeats.c.owner == owner,
                heartbeats.c.lost_at.is_(None),
            )
            .values(lost_at=ledger.clock())
        )
