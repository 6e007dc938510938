"""The clips that a command's selectors choose."""

import datetime as dt
from collections.abc import Sequence

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.planning import Chooser, Days
from resources.series import Clip, Declarations
from resources.settings import Settings, open_ledger


def chosen_clips(
    settings: Settings,
    declarations: Declarations,
    selectors: Sequence[str],
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    names: Sequence[str] = (),
) -> list[Clip]:
    """Find the declared clips that the selectors choose.

    Args:
        since: The date for selectors without one, or the first of several dates; by default today.
        until: The last date.
        names: Only these clips, by name or key; all when empty.

    Raises:
        ConfigurationError: A selector or a name is wrong; the text says what is allowed.
    """
    days = None
    if since is not None or until is not None:
        dates = [when.date() for when in (since, until) if when is not None]
        days = Days(dates[0], dates[-1])
        if days.last < days.first:
            raise ConfigurationError(f"the range ends on {days.last}, before it begins on {days.first}")
    with open_ledger(settings) as ledger:
        clips = Chooser(declarations, ledger, now=dt.datetime.now(dt.UTC), days=days).clips(selectors)
    known = dict.fromkeys(name for clip in clips for name in (clip.name, clip.key))
    for name in names:
        if name not in known:
            all_names = ", ".join(dict.fromkeys(clip.name for clip in clips)) or "none"
            raise ConfigurationError(
                f"{' '.join(selectors)} has no clip {name!r}; it has: {all_names}{suggestion(name, known)}"
            )
    return [clip for clip in clips if not names or clip.name in names or clip.key in names]
