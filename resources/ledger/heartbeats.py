"""Heartbeats of runs: which runs are alive by the ledger's clock, independent of their status in Dagster.

A run renews its claim while it works. An expired claim is read twice: the first reading marks it as doubted, and a later reading
takes it unless it was renewed meanwhile. So a run that waited for the database together with its readers does not count as
dead. Once its claim is taken, the run is lost for every process, and for itself when it wakes (a stopped process, a machine that
slept): a run and the collectors of its clips never both continue. All times are those of the ledger's database.
"""

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts, heartbeats, submissions
from resources.ledger.states import AT_PROVIDER, AttemptState
from resources.ledger.times import CLOCKS_SECONDS

LEASE_SECONDS = 45.0
"""How long a claim lasts without a renewal. A database that vanished is noticed after 30 s (`address.py`); the claim is then renewed
over a new connection, at the latest 41 s after the last renewal."""
RENEW_SECONDS = 10.0
DOUBT_SECONDS = 15.0
"""How long an expired claim is doubted before it is taken: a living run renews it within `RENEW_SECONDS`."""
GRACE_SECONDS = 90.0
"""How long a started run may take until its first claim, or from the end of one step to the next."""
TOMBSTONE_SECONDS = 30 * 86_400.0

_LOST = sa.select(heartbeats.c.lost_at).where(heartbeats.c.run_id == sa.bindparam("run_id"))
_LOST_LOCKED = _LOST.with_for_update(read=True)


class RunLostError(DailiesError):
    """The run did not renew its claim in time, and other processes continue its work."""


def begin(ledger: Ledger, run_id: str, owner: str) -> None:
    """Claim a run for the process that carries it out.

    Args:
        run_id: Dagster's id.
        owner: Name of the process; `renew` and `end` need the same.

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
            sa.update(heartbeats)
            .where(mine, heartbeats.c.lost_at.is_(None))
            .values(owner=owner, until=until, doubted_at=None, ended_at=None)
        )
        require(connection, run_id)


def renew(ledger: Ledger, run_id: str, owner: str) -> bool:
    """Renew the claim for another lease; False if it was taken."""
    with ledger.write() as connection:
        renewed = connection.execute(
            sa.update(heartbeats)
            .where(
                heartbeats.c.run_id == run_id,
                heartbeats.c.owner == owner,
                heartbeats.c.lost_at.is_(None),
            )
            .values(until=ledger.clock() + LEASE_SECONDS, doubted_at=None)
        )
        return renewed.rowcount == 1


def end(ledger: Ledger, run_id: str, owner: str) -> None:
    """Release the claim at the end of a run's step, and record the time. A claim that was taken stays taken."""
    with ledger.write() as connection:
        now = ledger.clock()
        connection.execute(
            sa.update(heartbeats)
            .where(
                heartbeats.c.run_id == run_id,
                heartbeats.c.owner == owner,
                heartbeats.c.lost_at.is_(None),
            )
            .values(owner=None, until=now + GRACE_SECONDS, doubted_at=None, ended_at=now)
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
            f"the run {run_id} had no heartbeat for {LEASE_SECONDS + DOUBT_SECONDS:.0f} s or more, so the completion sensor and the run's "
            "retry continue its clips. This run stops here: it buys and reports nothing more."
        )


def check(ledger: Ledger, run_id: str | None) -> None:
    """Call `require` in its own transaction.

    Raises:
        RunLostError: The claim was taken.
    """
    with ledger.read() as connection:
        require(connection, run_id)


def lost(ledger: Ledger, started: Collection[str]) -> dict[str, float]:
    """Find which of some runs are lost, and since when.

    Doubted claims that are still expired are taken, so that their holders cannot renew them; other expired claims become doubted.
    The jobs that a lost run watched become due for their polls at once.

    Args:
        started: Runs that Dagster calls started. A run without a claim has `GRACE_SECONDS` for its first one, from now on.

    Returns:
        Seconds since the epoch, by the run's id.
    """
    lost_runs: dict[str, float] = {}
    if not started:
        return lost_runs
    claims = _claims(ledger, started)
    if len(claims) == len(set(started)) and not any(claim.is_due for claim in claims.values()):
        return {run_id: claim.lost_at for run_id, claim in claims.items() if claim.lost_at is not None}
    with ledger.write() as connection:
        now = ledger.clock()
        for some in chunks(sorted(started)):
            connection.execute(
                insert_ignoring(connection, heartbeats),
                [{"run_id": run_id, "until": now + GRACE_SECONDS} for run_id in some],
            )
            theirs = heartbeats.c.run_id.in_(some)
            # a clock that was ahead set this claim; it gets one lease from now on, since its run may be alive
            ahead = heartbeats.c.until > now + GRACE_SECONDS + CLOCKS_SECONDS
            connection.execute(sa.update(heartbeats).where(theirs, ahead).values(until=now + LEASE_SECONDS))
            expired = sa.and_(theirs, heartbeats.c.lost_at.is_(None), heartbeats.c.until < now)
            taken = connection.execute(
                sa.update(heartbeats)
                .where(expired, heartbeats.c.doubted_at <= now - DOUBT_SECONDS)
                .values(lost_at=now)
                .returning(heartbeats.c.run_id)
            )
            _release_polls(connection, [str(run_id) for (run_id,) in taken], now)
            undoubted = sa.or_(
                heartbeats.c.doubted_at.is_(None), heartbeats.c.doubted_at > now + CLOCKS_SECONDS
            )
            connection.execute(sa.update(heartbeats).where(expired, undoubted).values(doubted_at=now))
            rows = connection.execute(
                sa.select(heartbeats.c.run_id, heartbeats.c.lost_at).where(
                    theirs, heartbeats.c.lost_at.is_not(None)
                )
            )
            lost_runs.update({str(run_id): float(at) for run_id, at in rows})
        connection.execute(sa.delete(heartbeats).where(heartbeats.c.until < now - TOMBSTONE_SECONDS))
    return lost_runs


class _Claim(NamedTuple):
    """The claim of one run."""

    lost_at: float | None
    """When it was taken, in seconds since the epoch; None if it was not."""
    is_due: bool
    """Whether it must be doubted, taken, or corrected because a clock that was ahead set it."""


def _claims(ledger: Ledger, run_ids: Collection[str]) -> dict[str, _Claim]:
    """Read the claims of some runs, by the run's id. The read takes no lock, since the daemon repeats it while runs work."""
    claims: dict[str, _Claim] = {}
    with ledger.read() as connection:
        now = ledger.clock()
        latest = now + GRACE_SECONDS + CLOCKS_SECONDS
        for some in chunks(sorted(run_ids)):
            rows = connection.execute(
                sa.select(heartbeats.c.run_id, heartbeats.c.lost_at, heartbeats.c.until).where(
                    heartbeats.c.run_id.in_(some)
                )
            )
            for run_id, lost_at, until in rows:
                claims[str(run_id)] = _Claim(lost_at, lost_at is None and not now <= until <= latest)
    return claims


def _release_polls(connection: sa.Connection, run_ids: Collection[str], now: float) -> None:
    """Make the jobs that lost runs watched due: otherwise a claimed poll would keep its job for `polls.CLAIM_SECONDS`."""
    if run_ids:
        connection.execute(
            sa.update(attempts)
            .where(
                attempts.c.watched_by.in_(run_ids),
                attempts.c.state.in_([state.value for state in AT_PROVIDER]),
                attempts.c.next_poll_at > now,
            )
            .values(next_poll_at=now)
        )


class RunEnd(NamedTuple):
    """The end of a run."""

    at: float
    """When it ended its last step or was lost, in seconds since the epoch by the ledger's clock."""
    is_lost: bool
    """Whether its process died."""


def ends(ledger: Ledger, run_ids: Collection[str]) -> dict[str, RunEnd]:
    """The ends of some runs, by the run's id.

    Dagster's own times come from the clocks of the runs' hosts. Runs that never had a claim, and those that work, are left out.
    """
    by_run: dict[str, RunEnd] = {}
    if not run_ids:
        return by_run
    at = sa.func.coalesce(heartbeats.c.lost_at, heartbeats.c.ended_at)
    with ledger.read() as connection:
        for some in chunks(sorted(run_ids)):
            rows = connection.execute(
                sa.select(heartbeats.c.run_id, at, heartbeats.c.lost_at).where(
                    heartbeats.c.run_id.in_(some), at.is_not(None)
                )
            )
            by_run.update(
                {str(run_id): RunEnd(float(ended), lost_at is not None) for run_id, ended, lost_at in rows}
            )
    return by_run


def owners(ledger: Ledger) -> dict[str, str]:
    """The process that claims each living run, by the run's id."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(heartbeats.c.run_id, heartbeats.c.owner).where(
                heartbeats.c.lost_at.is_(None), heartbeats.c.owner.is_not(None)
            )
        )
        return {str(run_id): str(owner) for run_id, owner in rows}


def buyers(ledger: Ledger) -> list[str]:
    """Describe who may buy at this moment: each living run with its process, and each POST in flight with its process."""
    with ledger.read() as connection:
        now = ledger.clock()
        runs = connection.execute(
            sa.select(heartbeats.c.run_id, heartbeats.c.owner)
            .where(heartbeats.c.lost_at.is_(None), heartbeats.c.owner.is_not(None), heartbeats.c.until > now)
            .order_by(heartbeats.c.run_id)
        )
        names = [f"the run {run_id} (process {owner})" for run_id, owner in runs]
        posts = connection.execute(
            sa.select(attempts.c.subject_key, submissions.c.owner)
            .join(submissions, submissions.c.attempt_id == attempts.c.id)
            .where(attempts.c.state == AttemptState.SUBMITTING.value, submissions.c.ended_at.is_(None))
            .where(submissions.c.lease_until > now)
            .order_by(attempts.c.seq)
        )
        return names + [f"a POST of {clip} (process {owner})" for clip, owner in posts]


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
