"""The sums behind the plots: spend by day and series, cost of a delivered clip, time of an endpoint, failures by reason."""

import math
from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.ledger.states import OPEN, AttemptState

DAYS = 31
"""So many days are plotted, those with no spend left out."""
JOBS = 5_000
"""The times of so many jobs are looked at, the newest."""

_SPENT = sa.case(
    (attempts.c.money_state.in_(["released", "refunded"]), 0),
    else_=sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros),
)
_SUCCEEDED = ["succeeded", "delivered", "quarantined", "lost"]
_NOTHING = [s.value for s in AttemptState if s not in OPEN and s is not AttemptState.DELIVERED]


@dataclass(frozen=True)
class UnitCost:
    """What delivered clips cost, with the failed purchases that they took."""

    name: str
    """Of the series or the endpoint."""
    delivered: int
    """How many clips."""
    micros: int
    """All that was spent on it."""

    @property
    def each_micros(self) -> int | None:
        """For one delivered clip, None while there is none."""
        return round(self.micros / self.delivered) if self.delivered else None


@dataclass(frozen=True)
class ClipTimes:
    """How long an endpoint's jobs took from the submit to the end, in seconds."""

    name: str
    """The endpoint."""
    jobs: int
    """How many were looked at."""
    median: float
    """Half took less."""
    ninetieth: float
    """Nine of ten took less."""


@dataclass(frozen=True)
class Figures:
    """Everything that is plotted."""

    spend: dict[str, dict[str, int]]
    """Micro-dollars by day, and in it by series; the last days with any."""
    unit_costs: list[UnitCost]
    """By series, or by endpoint where there is one series only."""
    times: list[ClipTimes]
    """By endpoint."""
    failures: list[tuple[str, int]]
    """How many purchases came to nothing, by reason, the most frequent first."""
    clips: dict[str, int]
    """How many there are, by state of their newest purchase."""
    micros: int
    """All that was spent."""

    @property
    def total(self) -> int:
        """How many clips there are."""
        return sum(self.clips.values())


def read_figures(ledger: Ledger, *, series: str | None = None) -> Figures:
    """Add up everything, or one series.

    Args:
        ledger: The record.
        series: Only this one.
    """
    mine = [attempts.c.subject_kind == "clip"]
    if series is not None:
        mine.append(attempts.c.series == series)
    with ledger.read() as connection:
        return Figures(
            spend=_spend(connection, mine),
            unit_costs=_unit_costs(
                connection, mine, attempts.c.series if series is None else attempts.c.endpoint
            ),
            times=_times(connection, mine),
            failures=_failures(connection, mine),
            clips=_clips(connection, mine),
            micros=int(connection.execute(sa.select(sa.func.sum(_SPENT)).where(*mine)).scalar() or 0),
        )


def series_of(ledger: Ledger) -> list[str]:
    """The series that anything was bought for."""
    query = sa.select(attempts.c.series).where(attempts.c.subject_kind == "clip").distinct()
    with ledger.read() as connection:
        return sorted(str(name) for name in connection.execute(query).scalars())


def _spend(connection: sa.Connection, mine: list[sa.ColumnElement[bool]]) -> dict[str, dict[str, int]]:
    days = (
        sa.select(attempts.c.counted_on)
        .where(*mine)
        .group_by(attempts.c.counted_on)
        .order_by(attempts.c.counted_on.desc())
        .limit(DAYS)
    )
    rows = connection.execute(
        sa.select(attempts.c.counted_on, attempts.c.series, sa.func.sum(_SPENT))
        .where(*mine, attempts.c.counted_on.in_(days))
        .group_by(attempts.c.counted_on, attempts.c.series)
        .order_by(attempts.c.counted_on, attempts.c.series)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for day, name, micros in rows:
        found[str(day)][str(name)] = int(micros)
    return dict(found)


def _unit_costs(
    connection: sa.Connection, mine: list[sa.ColumnElement[bool]], by: sa.Column[str]
) -> list[UnitCost]:
    delivered = sa.case((attempts.c.state == AttemptState.DELIVERED.value, attempts.c.subject_key))
    rows = connection.execute(
        sa.select(by, sa.func.count(delivered.distinct()), sa.func.sum(_SPENT))
        .where(*mine)
        .group_by(by)
        .order_by(by)
    )
    return [UnitCost(str(name), int(clips), int(micros)) for name, clips, micros in rows]


def _times(connection: sa.Connection, mine: list[sa.ColumnElement[bool]]) -> list[ClipTimes]:
    seconds = attempts.c.finished_at - attempts.c.submitted_at
    rows = connection.execute(
        sa.select(attempts.c.endpoint, seconds)
        .where(*mine, seconds.is_not(None), attempts.c.state.in_(_SUCCEEDED))
        .order_by(attempts.c.seq.desc())
        .limit(JOBS)
    )
    found: dict[str, list[float]] = defaultdict(list)
    for endpoint, taken in rows:
        found[str(endpoint)].append(float(taken))
    return [
        ClipTimes(name, len(taken), _quantile(taken, 0.5), _quantile(taken, 0.9))
        for name, taken in sorted(found.items())
    ]


def _quantile(values: list[float], part: float) -> float:
    """The smallest value that so large a part of them does not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def _failures(connection: sa.Connection, mine: list[sa.ColumnElement[bool]]) -> list[tuple[str, int]]:
    why = sa.func.coalesce(attempts.c.reason_kind, attempts.c.state)
    rows = connection.execute(
        sa.select(why, sa.func.count())
        .where(*mine, attempts.c.state.in_(_NOTHING))
        .group_by(why)
        .order_by(sa.func.count().desc(), why)
    )
    return [(str(name).replace("_", " "), int(count)) for name, count in rows]


def _clips(connection: sa.Connection, mine: list[sa.ColumnElement[bool]]) -> dict[str, int]:
    newest = sa.select(sa.func.max(attempts.c.seq)).where(*mine).group_by(attempts.c.subject_key)
    rows = connection.execute(
        sa.select(attempts.c.state, sa.func.count())
        .where(attempts.c.seq.in_(newest))
        .group_by(attempts.c.state)
        .order_by(attempts.c.state)
    )
    return {str(state): int(count) for state, count in rows}
