"""Rules for dates: one day, a day of every year, or a weekday."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from resources.declared.problems import nearest
from resources.declared.validation import refused

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SAMPLE_DATE = dt.date(2026, 9, 23)
"""A date whose weekday and month have the longest names, so that its clip has the longest prompt of a dated series."""

_LEAP_YEAR = 2028
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEARLY = re.compile(r"[0-9]{2}-[0-9]{2}")


def _rule(value: str) -> str:
    if value in WEEKDAYS:
        return value
    if _DAY.fullmatch(value) or _YEARLY.fullmatch(value):
        try:
            dt.date.fromisoformat(value if _DAY.fullmatch(value) else f"{_LEAP_YEAR}-{value}")
        except ValueError:
            raise refused("is a date that does not exist") from None
        return value
    raise refused(
        nearest(value, WEEKDAYS), allowed="YYYY-MM-DD, MM-DD for every year, or a weekday as monday"
    )


DateRule = Annotated[
    str,
    AfterValidator(_rule),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|[0-9]{{2}}-[0-9]{{2}}|{'|'.join(WEEKDAYS)})$",
        }
    ),
]
"""Which dates: `2026-12-24`, `12-24` of every year, or `friday`."""


def on(rules: Mapping[str, Mapping[str, Any]], date: dt.date | None) -> dict[str, Any]:
    """The values for a date: those of its weekday, overridden by those of its day of the year, then by its own."""
    if date is None or not rules:
        return {}
    day = date.isoformat()
    variables: dict[str, Any] = {}
    for rule in (WEEKDAYS[date.weekday()], day[5:], day):
        variables |= rules.get(rule, {})
    return variables


def samples(rules: Iterable[str]) -> list[dt.date]:
    """Dates that cover every rule, and at least one day that no rule names."""
    dates = {SAMPLE_DATE: None}
    for rule in rules:
        if rule in WEEKDAYS:
            dates |= dict.fromkeys(SAMPLE_DATE + dt.timedelta(days=days) for days in range(7))
        else:
            dates[dt.date.fromisoformat(rule if _DAY.fullmatch(rule) else f"{_LEAP_YEAR}-{rule}")] = None
    return list(dates)
