"""Metrics for Prometheus, read from the ledger when somebody asks: the same numbers on whichever machine is asked.

Every query is bounded by what is open, unsettled or counted; none reads the history.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.metadata import version
from typing import Any, NamedTuple

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from resources.ledger import refused_hosts, tallies
from resources.ledger.budget import ACCOUNT, DAY, EVERYTHING, MONTH, SERIES, TOTAL, Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import (
    NOT_DELIVERED,
    UNBILLED,
    accounts,
    attempts,
    disputes,
    heartbeats,
    spending,
)
from resources.ledger.states import OPEN, AttemptState, MoneyState
from resources.money import to_usd


class Metric(NamedTuple):
    """One metric; the reference of the docs lists them."""

    name: str
    what: str
    """What its number says."""
    labels: tuple[str, ...] = ()


VERSION = Metric("dailies", "The version that answers.", ("version",))
PURCHASES = Metric(
    "dailies_purchases", "Purchases that may still become a clip, by state.", ("account", "state")
)
MONEY_IN_QUESTION = Metric(
    "dailies_money_in_question_usd",
    "US dollars that count as spent and are not settled, by the state of the money.",
    ("account", "state"),
)
SPENT = Metric(
    "dailies_spent_usd",
    "US dollars that count as spent: today, this month and in total; by everything, series and account.",
    ("of", "name", "period"),
)
CAP = Metric(
    "dailies_cap_usd",
    "The cap in US dollars: of everything and of accounts as the policy in force has it, of a series as its last purchase has set it.",
    ("of", "name", "period"),
)
OLDEST_FINISHED = Metric(
    "dailies_oldest_finished_seconds",
    "How long the oldest finished job has been waiting to be fetched.",
    ("account",),
)
OUTPUT_ENDS = Metric(
    "dailies_output_ends_seconds",
    "Seconds until a provider may delete the output of a paid job that is not fetched yet; the soonest.",
    ("account",),
)
STOPPED = Metric(
    "dailies_account_stopped",
    "1 where nothing is bought until somebody or something starts the account again; * is all accounts.",
    ("account", "kind"),
)
PAUSED = Metric(
    "dailies_account_paused_seconds",
    "Seconds for which nothing is sent to the account, since its provider asked for a pause.",
    ("account",),
)
DISPUTED = Metric(
    "dailies_disputed_amounts", "Amounts of bills that are not believed and wait for a person.", ("account",)
)
ENDED = Metric(
    "dailies_ended_total",
    "Purchases that have ended, by how: delivered, quarantined where a check failed (also if it was accepted later), failed, rejected, withdrawn and others.",
    ("account", "state"),
)
TICK_AGE = Metric(
    "dailies_tick_age_seconds",
    "Seconds since the last tick of a sensor began; a sensor without work ticks every 300 s.",
    ("sensor",),
)
TICK_SECONDS = Metric(
    "dailies_tick_seconds",
    "How long the last tick of a sensor that has ended took; Dagster ends one after 60 s.",
    ("sensor",),
)
RUNS = Metric("dailies_runs", "Runs with a heartbeat: their processes are alive.")
REFUSED_HOSTS = Metric(
    "dailies_refused_host",
    "1 for a host that may not buy, since its policy or data folder is not the one in force.",
    ("host", "about"),
)
METRICS = (
    VERSION,
    PURCHASES,
    MONEY_IN_QUESTION,
    SPENT,
    CAP,
    OLDEST_FINISHED,
    OUTPUT_ENDS,
    STOPPED,
    PAUSED,
    DISPUTED,
    ENDED,
    TICK_AGE,
    TICK_SECONDS,
    RUNS,
    REFUSED_HOSTS,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_IN_DOUBT = sorted([MoneyState.INDETERMINATE.value, MoneyState.REFUND_EXPECTED.value])
_OPEN = sorted(state.value for state in OPEN)

_PURCHASES = (
    sa.select(attempts.c.account, attempts.c.state, sa.func.count())
    .where(NOT_DELIVERED, attempts.c.state.in_(_OPEN))
    .group_by(attempts.c.account, attempts.c.state)
)
# in a form that no index has: SQLite would prefer an index of accounts, with all of the history
_account = attempts.c.account.concat("")
_MONEY = sa.select(
    _account,
    attempts.c.money_state,
    sa.func.sum(sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros)),
).group_by(_account, attempts.c.money_state)
_RESERVED = _MONEY.where(
    NOT_DELIVERED, attempts.c.state.in_(_OPEN), attempts.c.money_state == MoneyState.RESERVED.value
)
_DOUBTED = _MONEY.where(UNBILLED, attempts.c.money_state.in_(_IN_DOUBT))
_WAITING = (
    sa.select(attempts.c.account, sa.func.min(attempts.c.finished_at), sa.func.min(attempts.c.copy_deadline))
    .where(NOT_DELIVERED, attempts.c.state == AttemptState.SUCCEEDED.value)
    .group_by(attempts.c.account)
)
_NEXT_NAME = sa.select(sa.func.min(spending.c.name)).where(
    spending.c.of == sa.bindparam("of"), spending.c.name > sa.bindparam("last")
)
_SPENT = sa.select(spending).where(
    spending.c.of == sa.bindparam("of"),
    spending.c.name == sa.bindparam("name"),
    sa.or_(
        sa.and_(spending.c.period == DAY, spending.c.key == sa.bindparam("day")),
        sa.and_(spending.c.period == MONTH, spending.c.key == sa.bindparam("month")),
        sa.and_(spending.c.period == TOTAL, spending.c.key == ""),
    ),
)
_ACCOUNTS = sa.select(accounts.c.account, accounts.c.stopped_kind, accounts.c.not_before).order_by(
    accounts.c.account
)
_RUNS = (
    sa.select(sa.func.count())
    .select_from(heartbeats)
    .where(
        heartbeats.c.lost_at.is_(None),
        heartbeats.c.ended_at.is_(None),
        heartbeats.c.until >= sa.bindparam("now"),
    )
)
_DISPUTED = (
    sa.select(disputes.c.account, sa.func.count())
    .where(disputes.c.accepted_at.is_(None))
    .group_by(disputes.c.account)
)


class TickTime(NamedTuple):
    """The newest tick of a sensor."""

    sensor: str
    age: float
    """Seconds since it began."""
    seconds: float | None
    """How long the last one that has ended took; None if none has."""


class LedgerCollector(Collector):
    """Reads one ledger at each scrape.

    Args:
        ledger: Open while the collector is used.
        ticks: What Dagster knows of our sensors, where it was asked.
    """

    def __init__(self, ledger: Ledger, ticks: Sequence[TickTime] = ()) -> None:
        self._ledger = ledger
        self._ticks = ticks

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily | InfoMetricFamily]:
        """The metrics of one moment."""
        now = self._ledger.clock()
        day = self._ledger.budget.day(now)
        with self._ledger.read() as connection:
            purchases, reserved, doubted, waiting, by_account, disputed = (
                connection.execute(query).all()
                for query in (_PURCHASES, _RESERVED, _DOUBTED, _WAITING, _ACCOUNTS, _DISPUTED)
            )
            spent = [
                row
                for of in (EVERYTHING, SERIES, ACCOUNT)
                for name in _names(connection, of)
                for row in connection.execute(_SPENT, {"of": of, "name": name, "day": day, "month": day[:7]})
            ]
            runs = connection.execute(_RUNS, {"now": now}).scalar_one()
            budget = self._ledger.policy.read(connection).budget
            refused = refused_hosts.read(connection, now)
            tallied = tallies.read(connection)
        yield InfoMetricFamily(VERSION.name, VERSION.what, {"version": version("dailies")})
        yield _gauge(
            PURCHASES,
            purchases,
        )
        yield _gauge(
            MONEY_IN_QUESTION,
            ((account, state, to_usd(int(micros))) for account, state, micros in (*reserved, *doubted)),
        )
        yield _gauge(
            SPENT,
            ((row.of, row.name, row.period, to_usd(int(row.spent_micros))) for row in spent),
        )
        yield _gauge(
            CAP,
            [
                *_caps_in_force(budget),
                *(
                    (row.of, row.name, row.period, to_usd(int(row.cap_micros)))
                    for row in spent
                    if row.cap_micros is not None and row.of == SERIES
                ),
            ],
        )
        yield _gauge(
            OLDEST_FINISHED,
            ((account, max(0.0, now - at)) for account, at, _ in waiting if at is not None),
        )
        yield _gauge(
            OUTPUT_ENDS,
            ((account, deadline - now) for account, _, deadline in waiting if deadline is not None),
        )
        yield _gauge(
            STOPPED,
            ((row.account, row.stopped_kind, 1) for row in by_account if row.stopped_kind is not None),
        )
        yield _gauge(
            PAUSED,
            ((row.account, row.not_before - now) for row in by_account if row.not_before > now),
        )
        yield _gauge(
            DISPUTED,
            disputed,
        )
        counter = CounterMetricFamily(ENDED.name, ENDED.what, labels=ENDED.labels)
        for account, state, number in tallied:
            counter.add_metric([account, state], number)
        yield counter
        yield _gauge(TICK_AGE, ((tick.sensor, tick.age) for tick in self._ticks))
        yield _gauge(
            TICK_SECONDS, ((tick.sensor, tick.seconds) for tick in self._ticks if tick.seconds is not None)
        )
        yield _gauge(RUNS, [(runs,)])
        yield _gauge(REFUSED_HOSTS, ((one.host, one.about, 1) for one in refused))


def _caps_in_force(budget: Budget) -> Iterator[tuple[str, str, str, Decimal]]:
    """The caps of days and months in force now, not those of the last purchase."""
    for of, name, caps in (
        (EVERYTHING, "", budget.everything),
        *((ACCOUNT, name, caps) for name, caps in sorted(budget.accounts.items())),
    ):
        for period, micros in ((DAY, caps.per_day), (MONTH, caps.per_month)):
            if micros is not None:
                yield of, name, period, to_usd(micros)


def _names(connection: sa.Connection, of: str) -> Iterator[str]:
    """What has a counter, one look into the index for each name: there is a counter of every day beside it."""
    name: str | None = ""
    if of == EVERYTHING:
        yield ""
        return
    while (name := connection.execute(_NEXT_NAME, {"of": of, "last": name}).scalar_one()) is not None:
        yield name


def _gauge(metric: Metric, rows: Any) -> GaugeMetricFamily:
    """A gauge of rows whose last value is the number."""
    gauge = GaugeMetricFamily(metric.name, metric.what, labels=metric.labels)
    for *label, value in rows:
        gauge.add_metric([str(one) for one in label], float(value))
    return gauge


def exposition(ledger: Ledger, ticks: Sequence[TickTime] = ()) -> bytes:
    """The metrics in Prometheus' text format.

    Args:
        ticks: What Dagster knows of our sensors.

    Raises:
        DailiesError: The ledger does not answer.
    """
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger, ticks))
    return generate_latest(registry)
