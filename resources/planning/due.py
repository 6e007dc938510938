"""Which clips a plan is about: those of some series and dates, or everything the schedules come to."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from resources.declared.problems import nearest
from resources.errors import ConfigurationError
from resources.series import Clip, Declarations, Series
from resources.series.cron import runs_on

MAX_DAYS = 1000
MAX_WANTED = 50_000
"""Clips of one plan."""


@dataclass(frozen=True, slots=True)
class DueClip:
    """One clip to plan."""

    clip: Clip
    """Which."""
    day: dt.date
    """When it would be bought."""
    decision: str
    """Names what would buy it together with others: one tick of a schedule, or one command."""


def wanted(
    declarations: Declarations,
    *,
    series: Sequence[str] = (),
    since: dt.date | None = None,
    until: dt.date | None = None,
    clips: Sequence[str] = (),
    now: dt.datetime,
) -> list[DueClip]:
    """The clips of some series, or of every schedule that comes up, on a date or in a range of dates.

    A series that is named is planned as `dailies produce` would produce it: on the one date, or, in a range, on the dates
    its schedule comes up (on every date where it has none). Without names, every series whose schedule comes up.

    Args:
        declarations: What is declared.
        series: Their names; none is everything that is due.
        since: The first date; today, in the series' own time zone, if left out.
        until: The last date; the first one if left out.
        clips: Only these, by name or key; all if left out.
        now: The time (aware).

    Raises:
        ConfigurationError: No such series or clip, a range that ends before it begins or is too long, or too many clips.
    """
    _check_range(since, until)
    chosen = [_named(declarations, name) for name in dict.fromkeys(series)]
    named = bool(chosen)
    found: list[DueClip] = []
    for one in chosen or list(declarations.series.values()):
        for day in _days(one, since, until, now, named=named):
            decision = f"plan:{one.name}:{day.isoformat()}"
            found.extend(DueClip(clip, day, decision) for clip in one.clips(day))
            if len(found) > MAX_WANTED:
                raise ConfigurationError(
                    f"that makes more than {MAX_WANTED:,} clips; plan fewer series or a shorter range. Nothing was sent."
                )
    return found if not clips else _only(found, clips)


def _only(found: list[DueClip], names: Sequence[str]) -> list[DueClip]:
    known = {name for one in found for name in (one.clip.name, one.clip.key)}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        hint = nearest(unknown, known)
        raise ConfigurationError(f"no clip of these series and dates is called {unknown!r}. {hint}".rstrip())
    return [one for one in found if one.clip.name in names or one.clip.key in names]


def _check_range(since: dt.date | None, until: dt.date | None) -> None:
    if until is None:
        return
    first = since or until
    if until < first:
        raise ConfigurationError(f"the range ends on {until}, before it begins on {first}")
    if (until - first).days >= MAX_DAYS:
        raise ConfigurationError(f"the range is longer than {MAX_DAYS:,} days; plan a shorter one")


def _named(declarations: Declarations, name: str) -> Series:
    if name in declarations.series:
        return declarations.series[name]
    known = ", ".join(sorted(declarations.series)) or "none"
    broken = "".join(f"\n{problem}" for problem in declarations.problems)
    hint = nearest(name, declarations.series)
    raise ConfigurationError(f"there is no series {name!r}; there are: {known}. {hint}".rstrip() + broken)


def _days(
    series: Series, since: dt.date | None, until: dt.date | None, now: dt.datetime, *, named: bool
) -> list[dt.date]:
    """On which days it would be bought."""
    zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
    first = since or now.astimezone(zone).date()
    last = first if until is None else until
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    cron = series.schedule.cron if series.schedule else None
    if cron is None:
        days = days if named else []
    elif not named or until is not None:
        days = [day for day in days if runs_on(cron, day)]
    # without dates in its keys there is one clip, however often it comes up
    return days if series.dated else days[:1]
