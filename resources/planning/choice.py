"""The clips that words choose: among those that are declared, or among those that the ledger knows."""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from resources.declared.problems import nearest
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.planning.due import MAX_CLIPS, schedule_days
from resources.planning.selectors import Days, Selector, Term, TermKind, parse
from resources.series import Clip, Declarations, Series

_DATED_KEY = re.compile(r".+-([0-9]{4}-[0-9]{2}-[0-9]{2})-.+")
_OF_SERIES = {TermKind.SERIES, TermKind.TAG, TermKind.OWNER, TermKind.ENDPOINT}


def has_failed(attempt: Attempt) -> bool:
    """Whether a purchase has ended without a delivery."""
    return not attempt.state.is_open and attempt.state is not AttemptState.DELIVERED


@dataclass(frozen=True)
class ClipTraits:
    """A clip as the terms see it."""

    key: str
    series: str
    date: dt.date | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    endpoint: str = ""
    attempt: Attempt | None = None
    """Its newest purchase, None if it was never bought."""
    fingerprint: str | None = None
    """That of its request as it is declared now, None where it is not known."""

    def fits(self, term: Term) -> bool:
        """Whether a term fits this clip."""
        return _FITS[term.kind](self, term)


def _has_tag(tags: Mapping[str, str], term: Term) -> bool:
    name, equals, value = term.text.partition("=")
    if equals:
        return any(Term(term.kind, name).fits(k) and Term(term.kind, value).fits(v) for k, v in tags.items())
    return any(term.fits(text) for text in (*tags, *tags.values()))


def _is_in_state(attempt: Attempt | None, state: str) -> bool:
    if attempt is None:
        return state == "new"
    if state == "failed":
        return has_failed(attempt)
    return attempt.state.is_open if state == "open" else attempt.state.value == state


def _is_on(date: dt.date | None, days: Days | None) -> bool:
    return date is not None and days is not None and days.first <= date <= days.last


def _has_changed(attempt: Attempt | None, fingerprint: str | None) -> bool:
    return attempt is not None and fingerprint is not None and attempt.request.fingerprint != fingerprint


_FITS: dict[TermKind, Callable[[ClipTraits, Term], bool]] = {
    TermKind.NAME: lambda clip, term: term.fits(clip.series) or term.fits(clip.key),
    TermKind.SERIES: lambda clip, term: term.fits(clip.series),
    TermKind.TAG: lambda clip, term: _has_tag(clip.tags, term),
    TermKind.OWNER: lambda clip, term: term.fits(clip.owner),
    TermKind.ENDPOINT: lambda clip, term: term.fits(clip.endpoint),
    TermKind.DATE: lambda clip, term: _is_on(clip.date, term.days),
    TermKind.STATE: lambda clip, term: _is_in_state(clip.attempt, term.text),
    TermKind.CHANGED: lambda clip, _: _has_changed(clip.attempt, clip.fingerprint),
}


def chosen_attempts(found: Iterable[Attempt], words: Sequence[str], *, today: dt.date) -> list[Attempt]:
    """Those of some purchases whose clips the words choose; all of them without words.

    Raises:
        ConfigurationError: A word is wrong, or asks for what only the declarations know.
    """
    selectors = parse(words, today=today)
    if any(term.kind is TermKind.CHANGED for selector in selectors for term in selector):
        raise ConfigurationError("cannot choose clips by 'changed' here; `dailies plan changed` lists them")
    if not selectors:
        return list(found)
    return [a for a in found if any(all(_seen(a).fits(term) for term in one) for one in selectors)]


def _seen(attempt: Attempt) -> ClipTraits:
    request = attempt.request
    date = _DATED_KEY.fullmatch(attempt.subject_key)
    return ClipTraits(
        attempt.subject_key,
        attempt.series,
        _date(date[1]) if date else None,
        request.tags,
        request.owner,
        attempt.endpoint,
        attempt,
    )


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


class Chooser:
    """Chooses among the declared clips.

    Args:
        declarations: What is declared.
        ledger: What was bought, for `state:` and `changed`.
        now: The time (aware).
        days: The dates of words without one; None is today in the time zone of each series. `state:` without a date looks at
            every clip that was ever bought.
    """

    def __init__(
        self, declarations: Declarations, ledger: Ledger, *, now: dt.datetime, days: Days | None = None
    ) -> None:
        self._declarations = declarations
        self._ledger = ledger
        self._now = now
        self._days = days

    def clips(self, words: Sequence[str]) -> list[Clip]:
        """The clips of some words in the order of the words, each once.

        Raises:
            ConfigurationError: A word is wrong, names nothing that exists, or chooses too many clips.
        """
        found: dict[str, Clip] = {}
        for word in words:
            (selector,) = parse([word], today=self._now.date())
            for clip in self._of(word, selector):
                found.setdefault(clip.key, clip)
                if len(found) > MAX_CLIPS:
                    raise ConfigurationError(
                        f"{word!r} chooses more than {MAX_CLIPS:,} clips; choose fewer series or days. Nothing was sent."
                    )
        return list(found.values())

    def _of(self, word: str, selector: Selector) -> list[Clip]:
        named = next((term for term in selector if self._is_clip(term)), None)
        if named is not None:
            return self._fitting([self._declarations.find(named.text)], selector)
        states = [term for term in selector if term.kind is TermKind.STATE and term.text != "new"]
        if states and not any(term.kind is TermKind.DATE for term in selector):
            return self._fitting(self._bought(), selector)
        self._check_names(selector)
        clips: list[Clip] = []
        for series in self._declarations.series.values():
            # the date of `today` depends on the series' time zone
            own = parse([word], today=self._today(series))[0]
            if any(term.kind in _OF_SERIES and not _of_series(series).fits(term) for term in own):
                continue
            clips += self._fitting(self._on_its_days(series, own), own)
        return clips

    def _is_clip(self, term: Term) -> bool:
        """Whether a term is the key of one clip.

        Raises:
            ConfigurationError: It is a name that nothing has.
        """
        if (
            term.kind is not TermKind.NAME
            or set("*?[") & set(term.text)
            or term.text in self._declarations.series
        ):
            return False
        if not any(term.text.startswith(f"{one.key_prefix}-") for one in self._declarations.series.values()):
            raise self._nothing_called(term)
        return True

    def _nothing_called(self, term: Term) -> ConfigurationError:
        known = ", ".join(sorted(self._declarations.series)) or "none"
        broken = "".join(f"\n{problem}" for problem in self._declarations.problems)
        hint = nearest(term.text, self._declarations.series)
        return ConfigurationError(
            f"there is no series {term.text!r}; there are: {known}. {hint}".rstrip() + broken
        )

    def _check_names(self, selector: Selector) -> None:
        """Refuse a term that no series fits, since it is misspelt more likely than empty."""
        of_series = [_of_series(series) for series in self._declarations.series.values()]
        for term in selector:
            if term.kind not in _OF_SERIES or any(one.fits(term) for one in of_series):
                continue
            known = {
                TermKind.SERIES: {one.series for one in of_series},
                TermKind.TAG: {f"{name}={value}" for one in of_series for name, value in one.tags.items()},
                TermKind.OWNER: {one.owner for one in of_series if one.owner},
                TermKind.ENDPOINT: {one.endpoint for one in of_series},
            }[term.kind]
            there = ", ".join(sorted(known)) or "none"
            raise ConfigurationError(
                f"no series fits {str(term)!r}; there are: {there}. {nearest(term.text, known)}".rstrip()
            )

    def _today(self, series: Series) -> dt.date:
        zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
        return self._now.astimezone(zone).date()

    def _on_its_days(self, series: Series, selector: Selector) -> list[Clip]:
        given = [term.days for term in selector if term.days is not None]
        if not series.dated:
            return [] if given else series.clips()
        today = self._today(series)
        days: Days | None = given[0] if given else self._days or Days(today, today)
        for other in given[1:]:
            days = days.both(other) if days is not None else None
        if days is None:
            return []
        return [clip for day in schedule_days(series, days.first, days.last) for clip in series.clips(day)]

    def _bought(self) -> list[Clip]:
        """Every declared clip that was ever bought."""
        found = []
        for attempt in self._ledger.overview():
            try:
                found.append(self._declarations.find(attempt.subject_key))
            except DailiesError:
                continue
        return found

    def _fitting(self, clips: Sequence[Clip], selector: Selector) -> list[Clip]:
        asks = {term.kind for term in selector}
        newest = (
            self._ledger.latest([c.key for c in clips]) if asks & {TermKind.STATE, TermKind.CHANGED} else {}
        )
        kept = []
        for clip in clips:
            series = _of_series(self._declarations.series[clip.series])
            traits = ClipTraits(
                clip.key,
                clip.series,
                clip.date,
                series.tags,
                series.owner,
                series.endpoint,
                newest.get(clip.key),
                self._fingerprint(clip) if TermKind.CHANGED in asks and clip.key in newest else None,
            )
            if all(traits.fits(term) for term in selector):
                kept.append(clip)
        return kept

    def _fingerprint(self, clip: Clip) -> str | None:
        try:
            return self._declarations.render(clip).fingerprint
        except DailiesError:
            return None


def _of_series(series: Series) -> ClipTraits:
    return ClipTraits("", series.name, None, series.tags, series.owner, series.endpoint.id)
