"""The clips of a plan: those of some series and dates, or those that the schedules will produce."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.series import Clip, Declarations, Series
from resources.series.cron import runs_on

MAX_DAYS = 1000
MAX_CLIPS = 50_000
"""Most clips in one plan."""


@dataclass(frozen=True, slots=True)
class DueClip:
    """One clip to plan."""

    clip: Clip
    """Which."""
    day: dt.date
    """The day on which it would be bought."""
    decision: str
    """The decision that would buy it together with others: one tick of a schedule, or one command."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The series, dates and clips that a person wants to plan."""

    series: Sequence[str] = ()
    """Names; empty for everything that is due."""
    since: dt.date | None = None
    """The first date; None is today in the series' own time zone."""
    until: dt.date | None = None
    """The last date; None is the first one."""
    clips: Sequence[str] = ()
    """The clips, by name or key; empty for all."""


def due_clips(declarations: Declarations, selection: Selection, *, now: dt.datetime) -> list[DueClip]:
    """The clips of some series, or of every schedule that is due, on a date or in a range of dates.

    A named series is planned as `dailies produce` would produce it: on the one date, or in a range on the dates of its
    schedule (on every date if it has none). Without names, every series whose schedule is due is planned.

    Args:
        now: The time (aware).

    Raises:
        ConfigurationError: A series or clip does not exist, the range ends before it begins or is too long, or there are
            too many clips.
    """
    _check_range(selection)
    chosen = [_named(declarations, name) for name in dict.fromkeys(selection.series)]
    due: list[DueClip] = []
    for one in chosen or list(declarations.series.values()):
        for day in _days(one, selection, now):
            decision = f"plan:{one.name}:{day.isoformat()}"
            due.extend(DueClip(clip, day, decision) for clip in one.clips(day))
            if len(due) > MAX_CLIPS:
                raise ConfigurationError(
                    f"that makes more than {MAX_CLIPS:,} clips; plan fewer series or a shorter range. Nothing was sent."
                )
    return due if not selection.clips else _only(due, selection.clips)


def _only(due: list[DueClip], names: Sequence[str]) -> list[DueClip]:
    known = {name for one in due for name in (one.clip.name, one.clip.key)}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        hint = suggestion(unknown, known)
        raise ConfigurationError(f"no clip of these series and dates is called {unknown!r}{hint}")
    return [one for one in due if one.clip.name in names or one.clip.key in names]


def _check_range(selection: Selection) -> None:
    if (until := selection.until) is None:
        return
    first = selection.since or until
    if until < first:
        raise ConfigurationError(f"the range ends on {until}, before it begins on {first}")
    if (until - first).days >= MAX_DAYS:
        raise ConfigurationError(f"the range is longer than {MAX_DAYS:,} days; plan a shorter one")


def _named(declarations: Declarations, name: str) -> Series:
    if name in declarations.series:
        return declarations.series[name]
    known = ", ".join(sorted(declarations.series)) or "none"
    broken = "".join(f"\n{problem}" for problem in declarations.problems)
    hint = suggestion(name, declarations.series)
    raise ConfigurationError(f"there is no series {name!r}; there are: {known}{hint}{broken}")


def _days(series: Series, selection: Selection, now: dt.datetime) -> list[dt.date]:
    """The days on which a series would be bought."""
    zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
    first = selection.since or now.astimezone(zone).date()
    if series.schedule is None and not selection.series:
        return []
    days = schedule_days(
        series, first, selection.until or first, strict=not selection.series or selection.until is not None
    )
    # an undated series has one clip, however often its schedule is due
    return days if series.dated else days[:1]


def schedule_days(
    series: Series, first: dt.date, last: dt.date, *, strict: bool | None = None
) -> list[dt.date]:
    """The days of a range on which a series has clips: those of its schedule, or all if it has none.

    Args:
        strict: Whether the schedule also counts for a single day.
    """
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    if series.schedule is None or not (len(days) > 1 if strict is None else strict):
        return days
    return [day for day in days if runs_on(series.schedule.cron, day)]
