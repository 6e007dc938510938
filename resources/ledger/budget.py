"""The budget: counters of what is spent, and the caps that they may not exceed.

Counters exist for everything, each series and each account, and for a run, a day, a month and in total. They change in the
transaction that changes an attempt's money, which also refuses a reservation above a cap. So a cap holds whatever the number
of processes; the row's CHECK is the last guard.

Money counts while it may have to be paid: reserved, confirmed, refund_expected and indeterminate. Released and refunded money
is subtracted from the same counters.
"""

import datetime as dt
import functools
import zoneinfo
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from resources.ledger.database import chunks, lock_money
from resources.ledger.former_names import former_names
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, spending
from resources.ledger.states import MoneyState
from resources.money import show_usd, usd
from resources.orders import Caps, ClipRequest

MOST_PER_CLIP = usd("100")
"""What one clip may cost unless a setting says otherwise: several times the dearest clip that any page sells ($14.00), and far
below a quote in another unit."""
EVERYTHING, SERIES, ACCOUNT = "everything", "series", "account"
RUN, DAY, MONTH, TOTAL = "run", "day", "month", "total"
NOTHING_COUNTS = [MoneyState.RELEASED.value, MoneyState.REFUNDED.value]


class Scope(NamedTuple):
    """What a counter counts."""

    of: str
    """`everything`, `series` or `account`."""
    name: str
    """Of the series or account."""
    period: str
    """`run`, `day`, `month` or `total`."""
    key: str
    """The decision, the day (YYYY-MM-DD), the month (YYYY-MM), or nothing."""


@dataclass(frozen=True)
class Budget:
    """What may be spent, besides the caps in each series' file."""

    timezone: str = "UTC"
    """Where a day begins and ends, as the IANA names it."""
    everything: Caps = field(default_factory=Caps)
    """Over all accounts and series."""
    accounts: Mapping[str, Caps] = field(default_factory=dict)
    """By account."""
    per_clip: int | None = MOST_PER_CLIP
    """The most that one clip may cost, in micro-dollars; None is no cap."""
    request_factor: float = 1.0
    """How many times its quote one request may be charged before its account is stopped."""
    hour_factor: float = 2.0
    """How many times what was ordered an account may be charged within an hour before it is stopped."""

    def day(self, now: float) -> str:
        """The day of a moment, as YYYY-MM-DD."""
        return dt.datetime.fromtimestamp(now, zoneinfo.ZoneInfo(self.timezone)).date().isoformat()

    def refusal(self, amount: int) -> str | None:
        """Why one clip may not cost this amount (micro-USD), for a person; None when it may."""
        if self.per_clip is None or amount <= self.per_clip:
            return None
        return (
            f"one clip may cost {show_usd(self.per_clip)} and this one needs {show_usd(amount)}: if that is its price and not "
            "another unit, raise DAILIES_MAX_USD_PER_CLIP. Nothing was bought."
        )

    def cap(self, scope: Scope, series: Caps) -> int | None:
        """The cap of a scope in micro-USD, None where there is none."""
        caps = {
            EVERYTHING: self.everything,
            ACCOUNT: self.accounts.get(scope.name, Caps()),
            SERIES: series,
        }[scope.of]
        return {RUN: caps.per_run, DAY: caps.per_day, MONTH: caps.per_month, TOTAL: caps.total}[scope.period]


def scopes(*, account: str, series: str, decision: str, day: str) -> list[Scope]:
    """All counters of a purchase."""
    periods = [(RUN, decision), (DAY, day), (MONTH, day[:7]), (TOTAL, "")]
    return [
        Scope(of, name, period, key)
        for of, name in ((EVERYTHING, ""), (SERIES, series), (ACCOUNT, account))
        for period, key in periods
    ]


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
        connection: The transaction that queues the purchase.
        wanted: Its counters.
        amount: Its price in micro-dollars.
        budget: The caps of everything and of the accounts.
        request: What is bought; it has the caps of its series.

    Returns:
        Why it is refused, for a person; None when it was counted.
    """
    too_dear = budget.refusal(amount)
    if too_dear is not None:
        return too_dear
    lock_money(connection)
    caps = {scope: budget.cap(scope, request.caps) for scope in wanted}
    capped = [scope for scope, cap in caps.items() if cap is not None]
    refusal = exceeded(
        caps, spent(connection, capped, {request.series: request.keys}), amount, budget.timezone
    )
    if refusal is None:
        _add(connection, caps, amount, holding=True)
    return refusal


def exceeded(
    caps: Mapping[Scope, int | None], spent: Mapping[Scope, int], amount: int, timezone: str
) -> str | None:
    """Why a purchase would exceed a cap, for a person; None when it would not.

    Args:
        caps: By scope, in micro-dollars; None is no cap.
        spent: What counts in each of them already.
        amount: The price in micro-dollars.
        timezone: Where a day begins.
    """
    refusals = [
        _refusal(scope, cap, spent[scope], amount, timezone)
        for scope, cap in caps.items()
        if cap is not None and spent[scope] + amount > cap
    ]
    return f"{'; '.join(refusals)}. Nothing was bought." if refusals else None


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
    connection: sa.Connection, wanted: Sequence[Scope], keys: Mapping[str, str | None]
) -> dict[Scope, int]:
    """What counts in each scope, in micro-USD.

    Money of a future day or month counts in every one before it: a clock that was ahead has dated it, and it must not be
    missing from the cap of the day on which it was really spent. Money of a series counts under each name that it had.

    Args:
        keys: By series: the start of its keys where that is another name; see `former_names`.
    """
    found: dict[Scope, int] = {}
    former = {
        name: former_names(connection, name, keys.get(name))
        for name in {scope.name for scope in wanted if scope.of == SERIES}
    }
    before = {
        scope: [scope._replace(name=old) for old in former[scope.name]] if scope.of == SERIES else []
        for scope in wanted
    }
    for some in chunks([*before, *(old for scopes in before.values() for old in scopes)]):
        columns = zip(*some, strict=True)
        known = {
            f"{name}_{i}": value
            for name, values in zip(Scope._fields, columns, strict=True)
            for i, value in enumerate(values)
        }
        rows = connection.execute(_counters(tuple(_is_dated(scope) for scope in some)), known)
        found |= {Scope(row.of, row.name, row.period, row.key): int(row.spent_micros) for row in rows}

    def counts(scope: Scope) -> int:
        if not _is_dated(scope):
            return found.get(scope, 0)
        return sum(
            micros for other, micros in found.items() if other[:3] == scope[:3] and other.key >= scope.key
        )

    return {scope: counts(scope) + sum(map(counts, before[scope])) for scope in wanted}


def _is_dated(scope: Scope) -> bool:
    return scope.period in {DAY, MONTH}


@functools.lru_cache(maxsize=64)
def _counters(dated: tuple[bool, ...]) -> sa.Select[Any]:
    """The counters that count for so many scopes. Made once for each shape: a purchase has one or two of them.

    Column by column, because SQLite reads the whole table for a list of tuples.
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


def _adding(insert: sqlite.Insert | postgresql.Insert, *, holding: bool) -> sa.Insert:
    """Adds to counters, and makes those that are missing; `holding` sets their caps, else a cap that is passed gives way."""
    total = spending.c.spent_micros + insert.excluded.spent_micros
    gives_way = sa.case((spending.c.cap_micros < total, total), else_=spending.c.cap_micros)
    cap = insert.excluded.cap_micros if holding else gives_way
    return insert.on_conflict_do_update(
        index_elements=list(spending.primary_key), set_={"spent_micros": total, "cap_micros": cap}
    )


_ADD = {
    (name, holding): _adding(dialect.insert(spending), holding=holding)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
    for holding in (False, True)
}
"""By the database and `holding`. A list of rows in the statement itself would be compiled at every purchase."""


def _add(connection: sa.Connection, caps: Mapping[Scope, int | None], amount: int, *, holding: bool) -> None:
    rows = [
        {**scope._asdict(), "spent_micros": amount, "cap_micros": cap}
        for scope, cap in sorted(caps.items(), key=lambda entry: entry[0])
    ]
    connection.execute(_ADD[connection.dialect.name, holding], rows)


def _refusal(scope: Scope, cap: int, spent: int, amount: int, timezone: str) -> str:
    per = f"per_{scope.period}"
    whose, setting = {
        EVERYTHING: ("", f"DAILIES_MAX_USD_{per.upper()}"),
        ACCOUNT: (
            f" of {scope.name}",
            f"DAILIES_{scope.name.upper().replace('-', '_')}_MAX_USD_{per.upper()}",
        ),
        SERIES: (
            f" of the series {scope.name}",
            f"`budget.{'total' if scope.period == TOTAL else per}` in its file",
        ),
    }[scope.of]
    period = {
        RUN: f"one run ({scope.key})",
        DAY: f"the day {scope.key} ({timezone})",
        MONTH: f"the month {scope.key} ({timezone})",
        TOTAL: "all its clips together",
    }[scope.period]
    return (
        f"the cap{whose} for {period} is {show_usd(cap)}; {show_usd(spent)} is spent or reserved and this clip needs "
        f"{show_usd(amount)}: raise {setting}"
    )


def recounted(connection: sa.Connection) -> dict[Scope, int]:
    """What the counters must be, added up from the attempts."""
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
    """The counters as they are."""
    rows = connection.execute(sa.select(spending))
    return {Scope(row.of, row.name, row.period, row.key): int(row.spent_micros) for row in rows}
