"""The numbers of the plots: spend by day and series, cost per delivered clip, time per endpoint, failures by reason."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.ledger.states import OPEN, AttemptState
from resources.ledger.yields import YieldBy, YieldLine, read_yield

DAYS = 31
"""Most days in a plot; days without spend are left out."""
JOBS = 5_000
"""Most jobs whose times are read, newest first."""

_SPENT = sa.case(
    (attempts.c.money_state.in_(["released", "refunded"]), 0),
    else_=sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros),
)
_SUCCEEDED = ["succeeded", "delivered", "quarantined", "lost"]
_NOTHING = [s.value for s in AttemptState if s not in OPEN and s is not AttemptState.DELIVERED]


@dataclass(frozen=True)
class UnitCost:
    """The cost of delivered clips, including failed purchases."""

    name: str
    """Name of the series or the endpoint."""
    delivered: int
    """The number of delivered clips."""
    micros: int
    """The whole spend, in micro-dollars."""

    @property
    def each_micros(self) -> int | None:
        """The cost of one delivered clip, None if there is none."""
        return round(self.micros / self.delivered) if self.delivered else None


@dataclass(frozen=True)
class ClipTimes:
    """Seconds from the submit to the end of an endpoint's jobs."""

    name: str
    """The endpoint."""
    jobs: int
    """The number of jobs."""
    median: float
    """The median."""
    ninetieth: float
    """The 90th percentile."""


@dataclass(frozen=True)
class Figures:
    """All numbers of the plots."""

    spend: dict[str, dict[str, int]]
    """Micro-dollars by day and series, for the last days with spend."""
    unit_costs: list[UnitCost]
    """Costs by series, or by endpoint if there is only one series."""
    times: list[ClipTimes]
    """By endpoint."""
    failures: list[tuple[str, int]]
    """The number of failed purchases by reason, the most frequent first."""
    clips: dict[str, int]
    """The number of clips by the state of their newest purchase."""
    micros: int
    """The whole spend, in micro-dollars."""
    worth: list[YieldLine] = field(default_factory=list)
    """Costs of circled takes by series, or by endpoint if there is only one series; only lines with a verdict."""

    @property
    def total(self) -> int:
        """The number of clips."""
        return sum(self.clips.values())


def read_figures(ledger: Ledger, *, series: str | None = None) -> Figures:
    """The numbers of all series, or of one."""
    mine = [attempts.c.subject_kind == "clip"]
    if series is not None:
        mine.append(attempts.c.series == series)
    lines = read_yield(ledger, YieldBy.SERIES if series is None else YieldBy.MODEL, series=series)
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
            worth=[line for line in lines if line.circled or line.rejected],
        )


def series_of(ledger: Ledger) -> list[str]:
    """The series with a purchase."""
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
    spend: dict[str, dict[str, int]] = defaultdict(dict)
    for day, name, micros in rows:
        spend[str(day)][str(name)] = int(micros)
    return dict(spend)


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
    times: dict[str, list[float]] = defaultdict(list)
    for endpoint, taken in rows:
        times[str(endpoint)].append(float(taken))
    return [
        ClipTimes(name, len(taken), _quantile(taken, 0.5), _quantile(taken, 0.9))
        for name, taken in sorted(times.items())
    ]


def _quantile(values: list[float], part: float) -> float:
    """The smallest value that this part of the values does not exceed."""
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
