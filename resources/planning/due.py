"""The clips that the schedules will produce on some dates."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.planning.selectors import Days
from resources.series import Clip, Declarations, Series
from resources.series.cron import runs_on

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
    """The dates and clips that a person wants to plan."""

    since: dt.date | None = None
    """The first date; None is today in the series' own time zone."""
    until: dt.date | None = None
    """The last date; None is the first one."""
    clips: Sequence[str] = ()
    """The clips, by name or key; empty for all."""


def due_clips(declarations: Declarations, selection: Selection, *, now: dt.datetime) -> list[DueClip]:
    """The clips of every schedule that is due on a date or in a range of dates.

    Args:
        now: The time (aware).

    Raises:
        ConfigurationError: A clip does not exist, the range ends before it begins or is too long, or there are
            too many clips.
    """
    if selection.until is not None:
        Days.of(selection.since or now.date(), selection.until)
    due: list[DueClip] = []
    for one in declarations.series.values():
        for day in _days(one, selection, now):
            decision = f"plan:{one.name}:{day.isoformat()}"
            due.extend(DueClip(clip, day, decision) for clip in one.clips(day))
            if len(due) > MAX_CLIPS:
                raise ConfigurationError(
                    f"that makes more than {MAX_CLIPS:,} clips; plan a shorter range. Nothing was sent."
                )
    return due if not selection.clips else _only(due, selection.clips)


def _only(due: list[DueClip], names: Sequence[str]) -> list[DueClip]:
    known = {name for one in due for name in (one.clip.name, one.clip.key)}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        hint = suggestion(unknown, known)
        raise ConfigurationError(f"no clip of these series and dates is called {unknown!r}{hint}")
    return [one for one in due if one.clip.name in names or one.clip.key in names]


def _days(series: Series, selection: Selection, now: dt.datetime) -> list[dt.date]:
    """The days on which the schedule of a series is due."""
    if series.schedule is None:
        return []
    first = selection.since or now.astimezone(ZoneInfo(series.schedule.timezone)).date()
    days = schedule_days(series, first, selection.until or first, strict=True)
    # an undated series has one clip, however often its schedule is due
    return days if series.dated else days[:1]


def schedule_days(series: Series, first: dt.date, last: dt.date, *, strict: bool = False) -> list[dt.date]:
    """The days of a range on which a series has clips: those of its schedule, or all if it has none.

    Args:
        strict: Whether the schedule also counts for a single day.
    """
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    if series.schedule is None or not (strict or len(days) > 1):
        return days
    return [day for day in days if runs_on(series.schedule.cron, day)]
