"""The declarations of the data folder, for every command. This module must not import Dagster, which takes longer than most commands."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from resources.catalogue import Catalogue
from resources.errors import ConfigurationError
from resources.orders import ClipRequest
from resources.series import Declarations, load_series
from resources.series.characters import Made
from resources.series.prompt_editor import ClipWords, PromptEditor
from resources.series.prompts import Words
from resources.settings import CANNOT_EDIT, Settings, open_ledger

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger


def declarations_of(settings: Settings, catalogue: Catalogue | None = None) -> Declarations:
    """Read the series of the data folder, with the given catalogue or else the folder's own.

    Raises:
        ConfigurationError: There is no data folder. (An empty one is allowed.)
    """
    if settings.reads_bucket:
        from resources.shared_data.source import bring

        settings = bring(settings)
    elif not settings.data.is_dir():
        raise ConfigurationError(
            f"there is no data folder {settings.data}, and this command needs what it declares. Run it in the folder of the project, or set "
            "DAILIES_DATA; `bucket` reads the folder that was pushed. Nothing was done."
        )

    def made() -> dict[str, Made]:
        from resources.characters.made import made_characters

        with open_ledger(settings) as ledger:
            return made_characters(ledger)

    return load_series(settings.data, catalogue or Catalogue.of(settings.data), made=made)


def editor_of(settings: Settings) -> PromptEditor:
    """The editor of single clips' words in the data folder."""
    kind = PushedPrompts if settings.reads_bucket else PromptEditor
    return kind(lambda: declarations_of(settings), settings.data, settings.home / "edits.lock")


class PushedPrompts(PromptEditor):
    """Shows and tries words on a host that reads the bucket's data folder, where none can be kept."""

    def keep(self, clip: str, words: Words | None, *, who: str, seen: str | None) -> ClipWords:  # noqa: ARG002 - as its base
        """Refuse.

        Raises:
            ConfigurationError: Always; with the way to change the words.
        """
        raise ConfigurationError(f"the words of {clip} cannot be changed here: {CANNOT_EDIT}")


def declared_limits(settings: Settings, ledger: "Ledger") -> Callable[[ClipRequest], ClipRequest]:
    """A function that gives a draft the declared caps and the declared price of its finish.

    Raises:
        ConfigurationError: This host's data folder is not the current one, which may have other prices.
    """
    from resources.shared_data.source import bring, checked_digest

    brought = bring(settings, ledger)
    checked_digest(brought, ledger)
    return declarations_of(brought).renewed


def clips_of(
    declarations: Declarations, series_name: str, date: dt.date | None, names: Sequence[str]
) -> list[str]:
    """The keys of a series' clips.

    Args:
        series_name: The name of the series.
        date: The date of a dated series; None means today in the schedule's timezone, or UTC.
        names: The clips, by name or key; empty for all.

    Raises:
        ConfigurationError: No such series or clip, or the series is broken.
    """
    series = declarations.series.get(series_name)
    if series is None:
        raise ConfigurationError(_no_such_series(declarations, series_name))
    if series.dated and date is None:
        from zoneinfo import ZoneInfo

        zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
        date = dt.datetime.now(zone).date()
    if not series.dated and date is not None:
        raise ConfigurationError(f"the series {series_name} has no dates: leave out --date")
    clips = series.clips(date)
    if not names:
        return [clip.key for clip in clips]
    by_name = {clip.name: clip.key for clip in clips} | {clip.key: clip.key for clip in clips}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        known = ", ".join(clip.name for clip in clips)
        raise ConfigurationError(
            f"the series {series_name} has no clip {', '.join(map(repr, unknown))}; it has: {known}"
        )
    return list(dict.fromkeys(by_name[name] for name in names))


def _no_such_series(declarations: Declarations, name: str) -> str:
    from resources.declared.problems import suggestion

    broken = [str(problem) for problem in declarations.problems]
    hint = suggestion(name, declarations.series)
    known = ", ".join(sorted(declarations.series)) or "none"
    text = f"there is no series {name!r}; there are: {known}{hint}"
    return "\n".join([text, *broken])
