"""Jobs at a provider that this ledger does not know: found by an hourly sweep, recorded, shown, and never adopted on a guess.

On a shared key they are expected. On a dedicated key somebody spends money outside the ledger, or the ledger has lost orders.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.ledger import served_models
from resources.ledger.database import chunks, insert_ignoring
from resources.ledger.jobs import NamedJob
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import take_named
from resources.ledger.schema import attempts, jobs, meta, submissions
from resources.providers.base import Candidate

SWEEP_SECONDS = 3600.0
SETTLED_SECONDS = 900.0
"""Younger jobs are left out: they may belong to a POST that is still in flight."""
SHOWN_WITHIN_SECONDS = 7_200.0
"""How much of the last window a sweep reads again, because AI/ML API's logs may show a job only when it has ended."""
FIRST_SWEEP_SECONDS = 86_400.0
LONGEST_WINDOW_SECONDS = 6 * 3600.0
"""The longest window of one sweep. After days without a sweep, the window of all of them could never be read in time, and each failure
made it longer; so the sweeps that catch up follow at once, each with its part."""
LISTING, BILL = "listing", "bill"

_KEPT = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("key"))
_FIRST = sa.select(sa.func.min(attempts.c.created_at)).where(attempts.c.account == sa.bindparam("account"))
# a provider whose clock is behind dates the first jobs before our orders
_FIRST_THERE = sa.select(sa.func.min(submissions.c.started_at + submissions.c.clock_low)).where(
    submissions.c.account == sa.bindparam("account")
)


@dataclass(frozen=True)
class Orphan:
    """A job without a purchase in the ledger."""

    account: str
    job_id: str
    """The provider's id."""
    source: str
    """Where it was seen: `listing` or `bill`."""
    seen_at: float
    """When it was seen, in seconds since the epoch."""


@dataclass(frozen=True)
class Sweep:
    """A claimed window of an account's listing and bill, in seconds since the epoch."""

    after: float
    """The start of the listing's window."""
    before: float
    """Its end."""
    billed_after: float
    """The start of the bill's window."""
    billed_before: float
    """Its end, never after the listing's: the listing may name the POST of a charged job. Before its start, the bill waits."""
    until: float
    """The end of what can be swept now. If it is later than one of the ends, the next sweep follows at once."""


def is_due(ledger: Ledger, account: str) -> bool:
    """Whether an account's sweep is due, even if none of its jobs is running."""
    return _due(ledger, account)[0] is not None


def claim_sweep(ledger: Ledger, account: str) -> Sweep | None:
    """Claim the account's next sweep if it is due. Nothing is swept before the first order."""
    sweep, kept, state = _due(ledger, account)
    if sweep is None or not _keep(ledger, account, kept, {**state, "tried_at": ledger.clock()}):
        return None
    return sweep


def _due(ledger: Ledger, account: str) -> tuple[Sweep | None, str | None, dict[str, Any]]:
    """The sweep that is due, with its state as stored and as parsed."""
    now = ledger.clock()
    with ledger.read() as connection:
        kept = connection.execute(_KEPT, {"key": _fact(account)}).scalar()
        state: dict[str, Any] = json.loads(kept) if kept is not None else {"tried_at": 0.0, "swept_to": None}
        if 0 <= now - state["tried_at"] < SWEEP_SECONDS:
            return None, kept, state
        # ignore times that a clock which was ahead has written
        state = {name: at if at is None or at <= now else None for name, at in state.items()}
        if state["swept_to"] is None or state.get("earliest") is None:
            state["earliest"] = _first_order(connection, account, now)
    earliest = state["earliest"]
    if earliest is None:
        return None, kept, state
    swept_to, billed_to = state["swept_to"], state.get("billed_to")
    after = now - FIRST_SWEEP_SECONDS if swept_to is None else swept_to - SHOWN_WITHIN_SECONDS
    oldest = now - FIRST_SWEEP_SECONDS
    # a bill that can never be read must not widen its window for ever
    billed_after = oldest if billed_to is None else max(oldest, billed_to - SHOWN_WITHIN_SECONDS)
    after, billed_after, until = max(earliest, after), max(earliest, billed_after), now - SETTLED_SECONDS
    before = min(until, after + LONGEST_WINDOW_SECONDS)
    billed_before = min(before, billed_after + LONGEST_WINDOW_SECONDS)
    return Sweep(after, before, billed_after, billed_before, until), kept, state


def _first_order(connection: sa.Connection, account: str, now: float) -> float | None:
    """When the first order of an account was made, by the earlier of our clock and the provider's; None if it is too young.

    The query reads all orders, so it runs only until the first sweep has ended; then the sweep's state holds the time.
    """
    first = connection.execute(_FIRST, {"account": account}).scalar()
    if first is None:
        return None
    first = float(first) if first <= now else now - FIRST_SWEEP_SECONDS
    if now - SETTLED_SECONDS <= first:
        return None
    first_there = connection.execute(_FIRST_THERE, {"account": account}).scalar()
    return first if first_there is None else min(first, float(first_there))


def finish_sweep(ledger: Ledger, account: str, sweep: Sweep, *, billed: bool = True) -> None:
    """Record that the listing, and perhaps the bill, was swept to its end. The next sweep begins there."""
    with ledger.read() as connection:
        kept = connection.execute(_KEPT, {"key": _fact(account)}).scalar_one()
    state = {**json.loads(kept), "swept_to": sweep.before}
    if billed:
        state["billed_to"] = sweep.billed_before
    if sweep.before < sweep.until or (billed and sweep.billed_before < sweep.until):
        state["tried_at"] = 0.0
    _keep(ledger, account, kept, state)


def _keep(ledger: Ledger, account: str, before: str | None, state: dict[str, Any]) -> bool:
    """Store a sweep's state unless another process has changed it."""
    value = json.dumps(state)
    with ledger.write() as connection:
        if before is None:
            change: sa.Insert | sa.Update = insert_ignoring(connection, meta).values(
                key=_fact(account), value=value
            )
        else:
            change = (
                sa.update(meta)
                .where(meta.c.key == _fact(account), meta.c.value == before)
                .values(value=value)
            )
        return connection.execute(change).rowcount == 1


def book(
    ledger: Ledger,
    account: str,
    listed: Iterable[Candidate],
    *,
    source: str = LISTING,
    models: Collection[str] | None = None,
) -> list[str]:
    """Record jobs that the ledger does not know.

    A job that names a POST of ours goes to its attempt. The others stay without an owner.

    Args:
        listed: The jobs that were read.
        source: Where they were read: `LISTING` or `BILL`.
        models: Only jobs of these models, for a key that others use too; None for all.

    Returns:
        Ids of the new jobs without an owner.
    """
    by_id = {job.job_id: job for job in listed}
    new: list[str] = []
    for ids in chunks(sorted(by_id)):
        chunk = [by_id[job_id] for job_id in ids]
        with ledger.write() as connection:
            chunk = _unknown(connection, account, chunk)
            ours = _ours(connection, account, chunk)
            strangers = [
                job.job_id
                for job in chunk
                if job.submission_id not in ours
                and (models is None or job.model is None or job.model in models)
            ]
            for job_id in strangers:
                values = {"account": account, "job_id": job_id, "source": source, "seen_at": ledger.clock()}
                connection.execute(insert_ignoring(connection, jobs).values(**values))
        new += strangers
        for job in chunk:
            if job.submission_id is not None and job.submission_id in ours:
                named = NamedJob(job.job_id, job.model, source)
                why = f"job {job.job_id}: the {source} names its POST"
                with ledger.transaction(who="orphan sweep", run_id=None) as tx:
                    take_named(tx, account, job.submission_id, named, why=why)
    return new


def _unknown(connection: sa.Connection, account: str, listed: Sequence[Candidate]) -> list[Candidate]:
    """The jobs that the ledger has never seen."""
    ids = [job.job_id for job in listed]
    query = sa.select(jobs.c.job_id).where(jobs.c.account == account, jobs.c.job_id.in_(ids))
    known = set(connection.execute(query).scalars())
    return [job for job in listed if job.job_id not in known]


def _ours(connection: sa.Connection, account: str, listed: Sequence[Candidate]) -> set[str]:
    """The POSTs of this ledger that the jobs name."""
    named = [job.submission_id for job in listed if job.submission_id is not None]
    if not named:
        return set()
    query = sa.select(submissions.c.id).where(submissions.c.account == account, submissions.c.id.in_(named))
    return set(connection.execute(query).scalars())


def models_of(ledger: Ledger, account: str) -> set[str]:
    """The models that were ordered at an account or served instead."""
    with ledger.read() as connection:
        endpoints = served_models.endpoints_of(connection, account)
        served = (served_models.models_of(connection, account, endpoint) for endpoint in endpoints)
        return set(endpoints.union(*served))


def orphans(ledger: Ledger) -> list[Orphan]:
    """Every job without an owner, newest sighting first."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(jobs.c.account, jobs.c.job_id, jobs.c.source, jobs.c.seen_at)
            .where(
                jobs.c.attempt_id.is_(None),
                jobs.c.source.in_([LISTING, BILL]),
                # leave out a job that was listed before its answer arrived
                ~sa.exists().where(attempts.c.account == jobs.c.account, attempts.c.job_id == jobs.c.job_id),
            )
            .order_by(jobs.c.seen_at.desc(), jobs.c.job_id)
        )
        return [Orphan(*row) for row in rows]


def _fact(account: str) -> str:
    return f"sweep {account}"


def in_words(account: str, jobs: list[str], *, dedicated: bool) -> str:
    """A sentence for a person about jobs that the ledger does not know."""
    sample = ", ".join(jobs[:3]) + (", ..." if len(jobs) > 3 else "")
    jobs_named = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
    if dedicated:
        return (
            f"{account} lists {jobs_named} that this ledger has not ordered ({sample}), although its key is set as dedicated: "
            "look at them at the provider, and change the key if they are not yours"
        )
    return f"{account} lists {jobs_named} that this ledger has not ordered ({sample}); others seem to use its key"
