"""Counters of what is spent, and the caps that they may not exceed.

Counters exist for everything, each series and each account, and for a run, a day, a month and in total. They change in the
transaction that changes an attempt's money, which also refuses a reservation above a cap. So a cap holds across any number of
processes; the row's CHECK is the last guard.

Money counts while it may have to be paid: reserved, confirmed, refund_expected and indeterminate. Released and refunded money
is subtracted from the same counters.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from resources.ledger.budget import DAY, MONTH, SERIES, Budget, Scope, exceeded, scopes
from resources.ledger.database import chunks, insert_into, lock_money
from resources.ledger.former_names import former_names
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, spending
from resources.ledger.states import MoneyState
from resources.orders import ClipRequest

NOTHING_COUNTS = [MoneyState.RELEASED.value, MoneyState.REFUNDED.value]


def scopes_of(attempt: Attempt) -> list[Scope]:
    """All counters of an attempt."""
    return scopes(
        account=attempt.account,
        series=attempt.series,
        decision=attempt.decision,
        day=attempt.counted_on,
    )


def reserve(
    connection: sa.Connection, wanted: list[Scope], amount: int, *, budget: Budget, request: ClipRequest
) -> str | None:
    """Count a new purchase, unless it would exceed a cap.

    Args:
        connection: The transaction that queues the purchase. It has taken `lock_money`, and read the caps after that.
        wanted: The purchase's counters.
        amount: The purchase's price in micro-dollars.
        budget: The caps of everything and of the accounts.
        request: What is bought; it has the caps of its series.

    Returns:
        Why the purchase is refused, for a person; None if it was counted.
    """
    too_dear = budget.refusal(amount)
    if too_dear is not None:
        return too_dear
    caps = {scope: budget.cap(scope, request.caps) for scope in wanted}
    capped = [scope for scope, cap in caps.items() if cap is not None]
    refusal = exceeded(
        caps, spent(connection, capped, {request.series: request.keys}), amount, budget.timezone
    )
    if refusal is None:
        _add(connection, caps, amount, holding=True)
    return refusal


def follow(connection: sa.Connection, before: Attempt, after: Attempt) -> None:
    """Count the change of an attempt's money.

    Money that must be paid counts even above a cap: the row's cap then gives way, until the next reservation sets the real cap
    again and is refused.
    """
    change = after.cost_micros - before.cost_micros
    if change:
        lock_money(connection)
        _add(connection, dict.fromkeys(scopes_of(after)), change, holding=False)


def count(connection: sa.Connection, attempt: Attempt) -> None:
    """Count a purchase that was made before the ledger knew it. Caps give way, as in `follow`."""
    if attempt.cost_micros:
        lock_money(connection)
        _add(connection, dict.fromkeys(scopes_of(attempt)), attempt.cost_micros, holding=False)


def spent(
    connection: sa.Connection, asked_scopes: Sequence[Scope], keys: Mapping[str, str | None]
) -> dict[Scope, int]:
    """Read the money that counts in each scope, in micro-USD.

    Money of a future day or month counts in every earlier one too: a clock that was ahead has dated it, and the cap of the day on
    which it was spent must not miss it. Money of a series counts under each name that the series had.

    Args:
        keys: By series: the start of its keys if it differs from the name; see `former_names`.
    """
    amounts: dict[Scope, int] = {}
    former = {
        name: former_names(connection, name, keys.get(name))
        for name in {scope.name for scope in asked_scopes if scope.of == SERIES}
    }
    before = {
        scope: [scope._replace(name=old) for old in former[scope.name]] if scope.of == SERIES else []
        for scope in asked_scopes
    }
    for some in chunks([*before, *(old for others in before.values() for old in others)]):
        columns = zip(*some, strict=True)
        known = {
            f"{name}_{i}": value
            for name, values in zip(Scope._fields, columns, strict=True)
            for i, value in enumerate(values)
        }
        rows = connection.execute(_counters(tuple(_is_dated(scope) for scope in some)), known)
        amounts |= {Scope(row.of, row.name, row.period, row.key): int(row.spent_micros) for row in rows}

    def counts(scope: Scope) -> int:
        if not _is_dated(scope):
            return amounts.get(scope, 0)
        return sum(
            micros for other, micros in amounts.items() if other[:3] == scope[:3] and other.key >= scope.key
        )

    return {scope: counts(scope) + sum(map(counts, before[scope])) for scope in asked_scopes}


def _is_dated(scope: Scope) -> bool:
    return scope.period in {DAY, MONTH}


@functools.lru_cache(maxsize=64)
def _counters(dated: tuple[bool, ...]) -> sa.Select[Any]:
    """The query for the counters of `len(dated)` scopes. It is built once for each shape; purchases need one or two shapes.

    It compares column by column, because SQLite reads the whole table for a list of tuples.
    """
    return sa.select(spending).where(
        sa.or_(
            *(
                sa.and_(
                    spending.c.of == sa.bindparam(f"of_{i}"),
                    spending.c.name == sa.bindparam(f"name_{i}"),
                    spending.c.period == sa.bindparam(f"period_{i}"),
                    spending.c.key >= sa.bindparam(f"key_{i}")
                    if later_counts
                    else spending.c.key == sa.bindparam(f"key_{i}"),
                )
                for i, later_counts in enumerate(dated)
            )
        )
    )


@functools.cache
def _adding(dialect: str, *, holding: bool) -> sa.Insert:
    """The statement that adds to counters and creates missing ones. With `holding` it sets their caps, else an exceeded cap gives way.

    A list of rows in the statement itself would be compiled at every purchase.
    """
    insert = insert_into(dialect, spending)
    total = spending.c.spent_micros + insert.excluded.spent_micros
    gives_way = sa.case((spending.c.cap_micros < total, total), else_=spending.c.cap_micros)
    cap = insert.excluded.cap_micros if holding else gives_way
    return insert.on_conflict_do_update(
        index_elements=list(spending.primary_key), set_={"spent_micros": total, "cap_micros": cap}
    )


def _add(connection: sa.Connection, caps: Mapping[Scope, int | None], amount: int, *, holding: bool) -> None:
    rows = [
        {**scope._asdict(), "spent_micros": amount, "cap_micros": cap}
        for scope, cap in sorted(caps.items(), key=lambda entry: entry[0])
    ]
    connection.execute(_adding(connection.dialect.name, holding=holding), rows)


def recounted(connection: sa.Connection) -> dict[Scope, int]:
    """The counters as added up from the attempts."""
    cost = sa.case(
        (attempts.c.money_state.in_(NOTHING_COUNTS), 0),
        else_=sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros),
    )
    by = (attempts.c.account, attempts.c.series, attempts.c.decision, attempts.c.counted_on)
    sums: dict[Scope, int] = defaultdict(int)
    for row in connection.execute(sa.select(*by, sa.func.sum(cost).label("cost")).group_by(*by)):
        for scope in scopes(
            account=row.account, series=row.series, decision=row.decision, day=row.counted_on
        ):
            sums[scope] += int(row.cost)
    return dict(sums)


def counted(connection: sa.Connection) -> dict[Scope, int]:
    """The counters as stored."""
    rows = connection.execute(sa.select(spending))
    return {Scope(row.of, row.name, row.period, row.key): int(row.spent_micros) for row in rows}
