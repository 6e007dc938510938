"""The statement: every dollar of the ledger by state, series, endpoint and day, and its comparison with a provider's bill."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import counters, schema
from resources.ledger.bills import MARGIN_SECONDS, Billed, Window, core
from resources.ledger.budget import SERIES, Budget, Scope
from resources.ledger.disputes import open_disputes
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, jobs, submissions
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import Caps

FREE = [MoneyState.RELEASED, MoneyState.REFUNDED]


@dataclass(frozen=True)
class Line:
    """The sum of the attempts with one property in common."""

    name: str
    """The common property."""
    attempts: int
    micros: int
    """Their cost as far as known, in micro-USD."""
    billed_micros: int
    """The part of the cost that the provider's bill has confirmed, in micro-USD."""


@dataclass(frozen=True)
class Cap:
    """A cap as the last reservation set it."""

    scope: Scope
    """What the cap limits."""
    spent_micros: int
    """The money that counts against it, in micro-USD."""
    cap_micros: int
    """The cap, in micro-USD."""


@dataclass(frozen=True)
class Statement:
    """The whole account."""

    by_state: list[Line]
    """One line for each state of money."""
    by_series: list[Line]
    """One for each series; released and refunded money counts nothing."""
    by_endpoint: list[Line]
    """One for each endpoint."""
    by_account: list[Line]
    """One for each account."""
    by_day: list[Line]
    """One for each day, newest first."""
    total: Line
    """The sum of all attempts."""
    caps: list[Cap]
    """Caps of today, this month, and of series in total."""
    miscounted: list[tuple[Scope, int, int]]
    """Counters that differ from the attempts: scope, counted, real. There must be none."""


def statement(ledger: Ledger) -> Statement:
    """Read the statement in one transaction."""
    budget, now = ledger.budget, ledger.clock()
    with ledger.read() as connection:
        total = _lines(connection, sa.literal("total"))
        return Statement(
            by_state=_lines(connection, attempts.c.money_state),
            by_series=_lines(connection, attempts.c.series),
            by_endpoint=_lines(connection, attempts.c.endpoint),
            by_account=_lines(connection, attempts.c.account),
            by_day=_lines(connection, attempts.c.counted_on)[::-1],
            total=total[0] if total else Line("total", 0, 0, 0),
            caps=_caps(connection, budget, budget.day(now)),
            miscounted=_miscounted(connection),
        )


def _lines(connection: sa.Connection, by: sa.ColumnElement[str]) -> list[Line]:
    cost = sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros)
    counts = sa.case((attempts.c.money_state.in_([money.value for money in FREE]), 0), else_=cost)
    billed = sa.case((attempts.c.charge_source == "bill", counts), else_=0)
    rows = connection.execute(
        sa.select(by.label("name"), sa.func.count().label("number"), sa.func.sum(counts), sa.func.sum(billed))
        .select_from(attempts)
        .group_by(sa.text("1"))
        .order_by(sa.text("1"))
    )
    return [Line(str(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in rows]


def _caps(connection: sa.Connection, budget: Budget, day: str) -> list[Cap]:
    table = schema.spending
    rows = connection.execute(
        sa.select(table)
        .where(table.c.key.in_([day, day[:7], ""]))
        .order_by(table.c.of, table.c.name, table.c.period)
    )
    caps = []
    for row in rows:
        scope = Scope(row.of, row.name, row.period, row.key)
        # a row keeps the cap of its last purchase. A series' cap is in its file; other caps may have changed since
        cap = row.cap_micros if row.of == SERIES else budget.cap(scope, Caps())
        if cap is not None:
            caps.append(Cap(scope, int(row.spent_micros), int(cap)))
    return caps


def _miscounted(connection: sa.Connection) -> list[tuple[Scope, int, int]]:
    counted, real = counters.counted(connection), counters.recounted(connection)
    return [
        (scope, counted.get(scope, 0), real.get(scope, 0))
        for scope in sorted({*counted, *real})
        if counted.get(scope, 0) != real.get(scope, 0)
    ]


@dataclass(frozen=True)
class Difference:
    """A job about which the ledger and the bill disagree."""

    account: str
    """Whose bill."""
    job_id: str
    """The job."""
    clip: str | None
    """The clip that it was bought for; None if no attempt has the job."""
    ledger_micros: int
    """The amount in the ledger, in micro-USD."""
    bill_micros: int
    """The charge on the bill less its refunds, in micro-USD."""
    why: str
    """One sentence for a person."""


def differences(ledger: Ledger, account: str, bill: Mapping[str, Billed], window: Window) -> list[Difference]:
    """Compare the ledger with a bill, job by job.

    A running job counts as reserved, whether or not the provider has charged it. A job that is a candidate of an unknown or
    held purchase is no difference, since that purchase's money counts already.

    Args:
        bill: By the core of the job's id.
        window: The part of the bill that was read.
    """
    with ledger.read() as connection:
        known = {
            core(attempt.job_id or ""): attempt
            for attempt in map(
                Attempt.from_row,
                connection.execute(
                    sa.select(attempts).where(attempts.c.account == account, attempts.c.job_id.is_not(None))
                ),
            )
        }
        known_jobs = {
            core(job_id)
            for job_id in connection.execute(
                sa.select(jobs.c.job_id).where(jobs.c.account == account)
            ).scalars()
        }
        doubtful = _candidates(connection, account)
    disputed = {dispute.attempt.id: str(dispute) for dispute in open_disputes(ledger, account=account)}
    compared = [
        _compare(account, attempt, bill.get(job), disputed.get(attempt.id))
        for job, attempt in known.items()
        if _in(attempt, window)
    ]
    strangers = [
        Difference(
            account,
            job,
            None,
            0,
            billed.net,
            "a job of ours that belongs to no purchase" if job in known_jobs else "not a job of this ledger",
        )
        for job, billed in bill.items()
        if job not in known and job not in doubtful and billed.net
    ]
    return [difference for difference in compared if difference is not None] + strangers


def _candidates(connection: sa.Connection, account: str) -> set[str]:
    """The candidates of unknown and held purchases, as the bill names them."""
    unsettled = [AttemptState.UNKNOWN.value, AttemptState.HELD.value]
    rows = connection.execute(
        sa.select(submissions.c.candidates)
        .join(attempts, attempts.c.id == submissions.c.attempt_id)
        .where(submissions.c.account == account, attempts.c.state.in_(unsettled))
    ).scalars()
    return {core(str(candidate["job"])) for row in rows for candidate in row or []}


def _in(attempt: Attempt, window: Window) -> bool:
    at = attempt.submitted_at or attempt.created_at
    return window.after + MARGIN_SECONDS <= at <= window.before - MARGIN_SECONDS


def _compare(
    account: str, attempt: Attempt, billed: Billed | None, disputed: str | None
) -> Difference | None:
    net = billed.net if billed is not None else 0
    running = attempt.state in {AttemptState.SUBMITTED, AttemptState.OVERDUE}
    if net == attempt.cost_micros or (running and net == 0):
        return None
    if billed is None:
        why = f"the bill does not name it, and the ledger says {attempt.money_state}"
    elif disputed is not None:
        why = disputed
    elif attempt.money_state is MoneyState.REFUND_EXPECTED:
        why = "a refund is expected, and the bill says something else"
    else:
        why = "the bill says another amount"
    return Difference(account, attempt.job_id or "", attempt.subject_key, attempt.cost_micros, net, why)


def in_doubt(ledger: Ledger) -> list[Attempt]:
    """Attempts that may or may not have been charged, oldest first. Their money counts as spent."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts)
            .where(attempts.c.money_state == MoneyState.INDETERMINATE.value)
            .order_by(attempts.c.seq)
        )
        return [Attempt.from_row(row) for row in rows]


def everything(ledger: Ledger) -> Iterable[Attempt]:
    """Every attempt, oldest first."""
    with ledger.read() as connection:
        for row in connection.execute(sa.select(attempts).order_by(attempts.c.seq)):
            yield Attempt.from_row(row)
