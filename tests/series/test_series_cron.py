"""Cron expressions: Dagster accepts all that pass here; invalid ones are refused with the reason."""

import datetime as dt
import zoneinfo

import dagster
import pytest
from dagster._utils.schedules import cron_string_iterator
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resources.series.cron import cron_mistake, next_tick, runs_on


@dagster.job
def _job() -> None:
    pass


def accepted_by_dagster(cron: str) -> bool:
    try:
        dagster.ScheduleDefinition(name="x", cron_schedule=cron, job=_job)
    except dagster.DagsterInvalidDefinitionError:
        return False
    return True


@pytest.mark.parametrize(
    "cron",
    [
        "0 6 * * *",
        "*/5 * * * *",
        "0 6,18 * * 1-5",
        "30 5 1-7/2 JAN-MAR mon",
        "0 0 29 2 *",
        "0 0 31 12 fri",
        "0 0 * * 7",
    ],
)
def test_a_cron_expression_that_dagster_runs_is_accepted(cron):
    assert cron_mistake(cron) is None
    assert accepted_by_dagster(cron)


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("", "needs five fields"),
        ("0 6 * *", "needs five fields"),
        ("0 0 6 * * *", "needs five fields"),
        ("@daily", "needs five fields"),
        ("60 * * * *", "'60' is not a valid minute: allowed are 0 to 59"),
        ("0 24 * * *", "'24' is not a valid hour"),
        ("0 0 0 * *", "'0' is not a valid day of month: allowed are 1 to 31"),
        ("0 0 * foo *", "'foo' is not a valid month: allowed are 1 to 12 or jan to dec"),
        ("0 0 * * 8", "is not a valid day of week: allowed are 0 to 7 or sun to sat"),
        ("0 0 * * FRI-MON", "'FRI-MON'"),
        ("*/0 * * * *", "'*/0'"),
        ("5/10 * * * *", "'5/10'"),
        ("0 0 L * *", "'L'"),
        ("0 0 30 2 *", "names a date that does not exist"),
        ("0 0 31 2 fri", "names a date that does not exist"),
        ("0 0 31 4,6 *", "names a date that does not exist"),
        ("\u0661 0 * * *", "is not a valid minute"),
        ("0 0 * * " + "1," * 200 + "1", "needs five fields"),
    ],
)
def test_an_invalid_cron_expression_is_refused_with_the_reason(cron, says):
    assert says in (cron_mistake(cron) or "")


FIELD = st.from_regex(r"\A(\*|[0-9a-z]{1,3})(-[0-9]{1,2})?(/[0-9]{1,2})?(,[0-9]{1,2})?\Z")
CRON = st.one_of(
    st.lists(FIELD, min_size=5, max_size=5).map(" ".join),
    st.tuples(*(st.integers(low, high) for low, high in [(0, 60), (0, 24), (0, 32), (0, 13), (0, 8)])).map(
        lambda numbers: " ".join(map(str, numbers))
    ),
)


@pytest.mark.slow
@given(CRON)
def test_dagster_accepts_every_expression_that_passes_here(cron):
    if cron_mistake(cron) is None:
        assert accepted_by_dagster(cron)


PART = st.sampled_from(["*", "*/2", "1", "2", "1-5", "1-5/2", "3,5", "1,2,3"])


@pytest.mark.slow
@settings(max_examples=examples(75))
@example(("29", "*", "*"), dt.date(2028, 3, 1))
@given(
    st.tuples(
        PART | st.sampled_from(["29", "31", "1-31"]),
        PART | st.sampled_from(["FEB", "2"]),
        PART | st.sampled_from(["0", "7", "0-7", "FRI"]),
    ),
    st.dates(dt.date(2026, 1, 1), dt.date(2028, 3, 1)),
)
def test_the_days_of_a_cron_expression_equal_dagsters(parts, day):
    cron = "30 5 " + " ".join(parts)
    if cron_mistake(cron) is not None:
        return
    # from the year's beginning: asked in March of a leap year for the next 29th of February, Dagster finds a past one and stops
    start = dt.datetime(day.year, 1, 1, tzinfo=dt.UTC)
    ticks = (tick.date() for tick in cron_string_iterator(start.timestamp(), cron, "UTC"))
    coming = next(tick for tick in ticks if tick >= day)
    for days in range(min((coming - day).days, 40)):
        assert not runs_on(cron, day + dt.timedelta(days=days))
    assert runs_on(cron, coming)


@settings(max_examples=examples(30), deadline=None)
@given(
    st.sampled_from(
        ["30 5 * * *", "*/20 6,18 * * 1-5", "0 0 1 * *", "15 12 29 2 *", "0 23 * 3,10 SUN", "5 4 * * 7"]
    ),
    st.sampled_from(["UTC", "Europe/Oslo", "America/New_York", "Pacific/Kiritimati"]),
    st.integers(1_767_225_600, 1_830_000_000),
)
def test_the_next_tick_equals_dagsters(cron: str, zone: str, moment: int) -> None:
    after = dt.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone))
    tick = next_tick(cron, after)
    assert tick is not None
    ticks = cron_string_iterator(after.timestamp() + 1, cron, zone)
    assert tick.timestamp() == next(ticks).timestamp()
