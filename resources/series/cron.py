"""Cron expressions of five fields. Dagster accepts every expression that passes here."""

import datetime as dt
import functools
import itertools
import re

from resources.declared.problems import show

_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day of week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(\*)|(\w{1,3})(?:-(\w{1,3}))?)(?:/(\d{1,2}))?", re.ASCII)


def cron_mistake(cron: str) -> str | None:
    """The mistake in a cron expression, as a sentence; None if there is none."""
    texts = cron.split()
    if len(texts) != len(_FIELDS) or len(cron) > 200:
        return "needs five fields: minute, hour, day of month, month, day of week (e.g. 0 6 * * 1-5)"
    values: list[set[int]] = []
    for text, (name, low, high) in zip(texts, _FIELDS, strict=True):
        chosen: set[int] = set()
        for part in text.split(","):
            numbers = _numbers(part, name, low, high)
            if numbers is None:
                names = f" or {_NAMES[name][0]} to {_NAMES[name][-1]}" if name in _NAMES else ""
                return f"{show(part)} is not a valid {name}: allowed are {low} to {high}{names}, ranges, steps, lists and *"
            chosen |= numbers
        values.append(chosen)
    # cron would accept a day of week instead, but Dagster refuses a date that does not exist
    if not any(day <= _LONGEST[month - 1] for day in values[2] for month in values[3]):
        return "names a date that does not exist"
    return None


@functools.lru_cache(maxsize=1024)
def _days(cron: str) -> tuple[frozenset[int], frozenset[int], frozenset[int], bool]:
    """Days of the month, months, days of the week (0 is Sunday), and whether either kind of day suffices."""
    texts = cron.split()
    chosen: list[frozenset[int]] = []
    for text, (name, low, high) in list(zip(texts, _FIELDS, strict=True))[2:]:
        sets = (_numbers(part, name, low, high) or set() for part in text.split(","))
        chosen.append(frozenset().union(*sets))
    days, months, weekdays = chosen
    weekdays = frozenset(day % 7 for day in weekdays)
    # like Dagster: if both kinds of day are given, either suffices
    by_day, by_weekday = texts[2], texts[4]
    names_days = by_day != "*" and (len(days) < 31 or "*" not in by_weekday)
    names_weekdays = by_weekday != "*" and (len(weekdays) < 7 or "*" not in by_day)
    return days, months, weekdays, names_days and names_weekdays


def runs_on(cron: str, date: dt.date) -> bool:
    """Whether a cron expression without mistakes is due on a date of its own time zone."""
    days, months, weekdays, either = _days(cron)
    if date.month not in months:
        return False
    by_day, by_weekday = date.day in days, date.isoweekday() % 7 in weekdays
    return by_day or by_weekday if either else by_day and by_weekday


MOST_DAYS = 9 * 366
"""The longest wait for a tick: the 29th of February around a year such as 2100."""


def next_tick(cron: str, after: dt.datetime) -> dt.datetime | None:
    """The first tick of a valid cron expression after a moment, in the moment's time zone.

    A wall time that the clocks skip has no tick here; Dagster ticks at the next existing time.

    Args:
        after: The moment, with a time zone.
    """
    texts = cron.split()
    minutes, hours = (
        sorted(set().union(*(_numbers(part, name, low, high) or set() for part in text.split(","))))
        for text, (name, low, high) in zip(texts[:2], _FIELDS[:2], strict=True)
    )
    for days in range(MOST_DAYS):
        date = after.date() + dt.timedelta(days=days)
        if not runs_on(cron, date):
            continue
        for hour, minute in itertools.product(hours, minutes):
            tick = dt.datetime(date.year, date.month, date.day, hour, minute, tzinfo=after.tzinfo)
            # arithmetic within a time zone ignores its clock changes
            exact = tick.astimezone(dt.UTC)
            if exact > after.astimezone(dt.UTC) and exact.astimezone(after.tzinfo) == tick:
                return tick
    return None


def _numbers(part: str, name: str, low: int, high: int) -> set[int] | None:
    """The numbers of one part of a field (`*/5`, `1-5`, `mon`); None if the part is not valid."""
    match = _PART.fullmatch(part)
    if match is None:
        return None
    star, first, last, step = match.groups()
    if star:
        start, end = low, high
    else:
        begins, ends = _number(first, name), _number(last or first, name)
        if begins is None or ends is None or not low <= begins <= ends <= high:
            return None
        # cron programs disagree about a step after a single number
        if step is not None and last is None:
            return None
        start, end = begins, ends
    stride = int(step) if step is not None else 1
    return set(range(start, end + 1, stride)) if 1 <= stride <= high else None


def _number(text: str, name: str) -> int | None:
    if text.isdigit():
        return int(text)
    names = _NAMES.get(name, ())
    return names.index(text.lower()) + (name == "month") if text.lower() in names else None
