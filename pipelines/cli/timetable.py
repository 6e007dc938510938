"""`dailies schedules`: each series' next tick and its price, and turning schedules on and off."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from rich.text import Text

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.terminal import counted, note, print_table, table_of, tell
from resources.dagster_names import selector
from resources.declared.problems import suggestion
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.money import show_usd, to_usd
from resources.planning import DueClip, Planning, Verb
from resources.series import Declarations, Series
from resources.series.cron import next_tick
from resources.settings import Settings, open_ledger

_SCHEDULES = """
query Schedules($selector: RepositorySelector!) {
  schedulesOrError(repositorySelector: $selector) {
    ... on Schedules { results { name cronSchedule executionTimezone scheduleState { id status } } }
  }
}
"""
_START = """
mutation Start($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename ... on PythonError { message } }
}
"""
_STOP = """
mutation Stop($id: String!) {
  stopRunningSchedule(id: $id) { __typename ... on PythonError { message } }
}
"""


@dataclass(frozen=True)
class ScheduleRow:
    """The schedule of one series."""

    series: Series
    cron: str
    timezone: str
    at: dt.datetime | None
    """Its next tick, in its own time zone."""
    clips: int
    """How many clips the tick would buy."""
    refused: int
    """How many due clips it would not buy, e.g. because of a cap."""
    floor: int
    """The cost of the tick if every first purchase succeeds, in micro-dollars."""
    ceiling: int
    """Its highest cost, in micro-dollars."""
    state: str
    """`on`, `off`, `not loaded` if Dagster has not loaded it as declared, or `unknown`."""


def dagster_at(settings: Settings) -> DagsterApi:
    """The Dagster that keeps the schedules."""
    return DagsterApi.of(settings)


def timetable(settings: Settings, declarations: Declarations, *, now: dt.datetime) -> list[ScheduleRow]:
    """The schedules in the order of their next ticks, each with the tick's plan.

    Raises:
        UnavailableError: The ledger does not answer. A Dagster that does not answer makes the states unknown.
    """
    known = _loaded_schedules(settings)
    rows = []
    with open_ledger(settings) as ledger:
        planning = Planning(declarations, ledger)
        for series in declarations.series.values():
            declared = series.schedule
            if declared is None:
                continue
            at = next_tick(declared.cron, now.astimezone(ZoneInfo(declared.timezone)))
            day = at.date() if at else now.date()
            due = [
                DueClip(clip, day, f"plan:{series.name}")
                for clip in series.clips(day if series.dated else None)
            ]
            plan = planning.plan(due)
            rows.append(
                ScheduleRow(
                    series,
                    declared.cron,
                    declared.timezone,
                    at,
                    plan.counts.get(Verb.BUY, 0),
                    plan.counts.get(Verb.REFUSE, 0),
                    plan.floor,
                    plan.ceiling,
                    _state(series, known),
                )
            )
    return sorted(rows, key=lambda row: (row.at is None, row.at, row.series.name))


def _loaded_schedules(settings: Settings) -> Mapping[str, Any] | None:
    """Dagster's schedules by name; None if it does not answer."""
    with dagster_at(settings) as api:
        try:
            schedules = api.query(_SCHEDULES, selector=selector())["schedulesOrError"].get("results", [])
        except UnavailableError:
            return None
    return {schedule["name"]: schedule for schedule in schedules}


def _state(series: Series, known: Mapping[str, Any] | None) -> str:
    if known is None:
        return "unknown"
    state, declared = known.get(series.schedule_name), series.schedule
    if state is None or declared is None:
        return "not loaded"
    if (state["cronSchedule"], state["executionTimezone"]) != (declared.cron, declared.timezone):
        return "not loaded"
    return "on" if state["scheduleState"]["status"] == "RUNNING" else "off"


def row_of(rows: list[ScheduleRow], name: str) -> ScheduleRow:
    """The schedule of a series.

    Raises:
        ConfigurationError: There is none.
    """
    for row in rows:
        if row.series.name == name:
            return row
    names = [row.series.name for row in rows]
    existing = ", ".join(names) or "none"
    raise ConfigurationError(
        f"no schedule is declared for {name!r}; there are: {existing}{suggestion(name, names)}"
    )


def switch(settings: Settings, row: ScheduleRow, *, on: bool) -> None:
    """Turn a schedule on or off; does nothing if that is its state already.

    Raises:
        ConfigurationError: Dagster has not loaded it as it is declared.
        DailiesError: Dagster does not answer, or refuses.
    """
    name = row.series.schedule_name
    if row.state == ("on" if on else "off"):
        return
    if row.state == "not loaded" and on:
        raise ConfigurationError(
            f"Dagster has not loaded the schedule of {row.series.name} as it is declared. `dailies up` loads it within a minute; "
            "elsewhere, the last tick of the sensor declared_clips says why not. Nothing was changed."
        )
    with dagster_at(settings) as api:
        if on:
            answer = api.query(_START, selector={**selector(), "scheduleName": name})["startSchedule"]
        else:
            known = (_loaded_schedules(settings) or {}).get(name)
            if known is None:
                raise DailiesError(f"Dagster knows no schedule of {row.series.name}. Nothing was changed.")
            answer = api.query(_STOP, id=known["scheduleState"]["id"])["stopRunningSchedule"]
    if answer["__typename"] != "ScheduleStateResult":
        raise DailiesError(f"Dagster did not do it: {answer.get('message') or answer['__typename']}")


def price(row: ScheduleRow) -> str:
    """The price of the next tick, in words."""
    floor, ceiling = show_usd(row.floor), show_usd(row.ceiling)
    return ceiling if floor == ceiling else f"{floor} to {ceiling}" if row.floor else f"at most {ceiling}"


def show_timetable(rows: list[ScheduleRow]) -> None:
    """Print it for a person."""
    table = table_of("series", "state", "next tick", "clips", "price", right={"clips", "price"})
    for row in rows:
        colour = {"on": "green", "off": "", "not loaded": "yellow"}.get(row.state, "dim")
        at = f"{row.at:%a %Y-%m-%d %H:%M} {row.timezone}" if row.at else "never"
        table.add_row(row.series.name, Text(row.state, style=colour), at, str(row.clips), price(row))
    print_table(table)
    for row in rows:
        if row.refused:
            name, clips = row.series.name, counted(row.refused, "clip")
            note(f"{name}: {clips} of its next tick would be refused; `dailies plan {name}` says why")
    if any(row.state == "unknown" for row in rows):
        note("Dagster does not answer, so it is not known which schedules are on")
    if any(row.state == "not loaded" for row in rows):
        note(
            "Dagster has not loaded some schedules as they are declared; `dailies up` does so within a minute, and elsewhere the sensor "
            "declared_clips asks for it"
        )
    tell("`dailies schedules on SERIES` turns one on, `off` turns it off")


def document(rows: list[ScheduleRow]) -> list[dict[str, Any]]:
    """The same content as JSON; money is exact text in USD."""
    return [
        {
            "series": row.series.name,
            "state": row.state,
            "cron": row.cron,
            "timezone": row.timezone,
            "next_tick": row.at.isoformat() if row.at else None,
            "clips": row.clips,
            "refused": row.refused,
            "floor_usd": str(to_usd(row.floor)),
            "ceiling_usd": str(to_usd(row.ceiling)),
        }
        for row in rows
    ]
