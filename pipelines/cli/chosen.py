"""The clips that a command's selectors choose."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.planning import Chooser, Days
from resources.series import Clip, Declarations
from resources.settings import Settings, open_ledger


@dataclass(frozen=True)
class ClipChoice:
    """How the arguments of a command choose clips."""

    selectors: Sequence[str]
    since: dt.datetime | None = None
    """The date for selectors without one, or the first of several dates; None for today."""
    until: dt.datetime | None = None
    """The last date."""
    names: Sequence[str] = ()
    """Only these clips, by name or key; all when empty."""


def chosen_clips(settings: Settings, declarations: Declarations, choice: ClipChoice) -> list[Clip]:
    """Find the declared clips of a choice.

    Raises:
        ConfigurationError: A selector or a name is wrong; the text says what is allowed.
    """
    now = dt.datetime.now(dt.UTC)
    days = None
    if choice.since is not None or choice.until is not None:
        first = (choice.since or now).date()
        days = Days.of(first, first if choice.until is None else choice.until.date())
    with open_ledger(settings) as ledger:
        clips = Chooser(declarations, ledger, now=now, days=days).clips(choice.selectors)
    known = dict.fromkeys(name for clip in clips for name in (clip.name, clip.key))
    for name in choice.names:
        if name not in known:
            all_names = ", ".join(dict.fromkeys(clip.name for clip in clips)) or "none"
            raise ConfigurationError(
                f"{' '.join(choice.selectors)} has no clip {name!r}; it has: {all_names}{suggestion(name, known)}"
            )
    names = choice.names
    return [clip for clip in clips if not names or clip.name in names or clip.key in names]
