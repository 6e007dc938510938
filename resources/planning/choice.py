"""Chooses clips by selectors, among declared clips or among clips in the ledger."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.former_names import later_names
from resources.ledger.ledger import Ledger
from resources.ledger.newest import Newest, newest
from resources.ledger.records import CLIP, Attempt
from resources.ledger.schema import NOT_DELIVERED, attempts
from resources.ledger.states import OPEN, UNDELIVERED, AttemptState
from resources.planning.due import MAX_CLIPS, schedule_days
from resources.planning.selectors import Days, Selector, Term, TermKind, parse
from resources.series import Clip, Declarations, Series, date_in_key

_OF_SERIES = {TermKind.SERIES, TermKind.TAG, TermKind.OWNER, TermKind.ENDPOINT}


@dataclass(frozen=True)
class ClipTraits:
    """The facts of a clip that terms compare."""

    key: str
    series: str
    date: dt.date | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    endpoints: Collection[str] = ()
    """The endpoints that it is bought from, without fallbacks."""
    states: Collection[AttemptState] = ()
    """The states of the newest purchase of each of its takes; empty if it was never bought."""
    changed: bool = False
    """Whether its declaration differs from its newest purchase."""

    def fits(self, term: Term) -> bool:
        """Whether a term fits this clip."""
        return _FITS[term.kind](self, term)


def _has_tag(tags: Mapping[str, str], term: Term) -> bool:
    name, equals, value = term.text.partition("=")
    if equals:
        return any(Term(term.kind, name).fits(k) and Term(term.kind, value).fits(v) for k, v in tags.items())
    return any(term.fits(text) for text in (*tags, *tags.values()))


def _named(state: str) -> frozenset[AttemptState]:
    """The states of a purchase that a term names."""
    groups = {"failed": UNDELIVERED, "open": OPEN, "new": frozenset[AttemptState]()}
    return groups[state] if state in groups else frozenset({AttemptState(state)})


def _is_on(date: dt.date | None, days: Days | None) -> bool:
    return date is not None and days is not None and days.first <= date <= days.last


_FITS: dict[TermKind, Callable[[ClipTraits, Term], bool]] = {
    TermKind.NAME: lambda clip, term: term.fits(clip.series) or term.fits(clip.key),
    TermKind.SERIES: lambda clip, term: term.fits(clip.series),
    TermKind.TAG: lambda clip, term: _has_tag(clip.tags, term),
    TermKind.OWNER: lambda clip, term: term.fits(clip.owner),
    TermKind.ENDPOINT: lambda clip, term: any(map(term.fits, clip.endpoints)),
    TermKind.DATE: lambda clip, term: _is_on(clip.date, term.days),
    TermKind.STATE: lambda clip, term: (
        any(state in _named(term.text) for state in clip.states) if clip.states else term.text == "new"
    ),
    TermKind.CHANGED: lambda clip, _: clip.changed,
}


def chosen_purchases(
    ledger: Ledger,
    selectors: Sequence[str],
    *,
    today: dt.date,
    states: Collection[AttemptState] = frozenset(AttemptState),
    series: str | None = None,
) -> list[Newest]:
    """The newest purchases of the chosen clips, oldest first; without selectors, of every clip.

    Args:
        today: The date of the word `today`.
        states: The states to select; others are left out.
        series: The series to select; None for all.

    Raises:
        ConfigurationError: A selector is wrong, or needs the declarations.
    """
    parsed = parse(selectors, today=today)
    kinds = {term.kind for selector in parsed for term in selector}
    later: dict[str, set[str]] = {}
    if kinds & {TermKind.NAME, TermKind.SERIES}:
        with ledger.read() as connection:
            later = later_names(connection)
    if TermKind.CHANGED in kinds:
        raise ConfigurationError("cannot choose clips by 'changed' here; `dailies plan changed` lists them")
    purchases = newest(
        ledger,
        states,
        series=series,
        where=_bounds(parsed, later),
        labels=bool(kinds & {TermKind.TAG, TermKind.OWNER}),
    )
    if not parsed:
        return purchases
    return [
        one
        for one in purchases
        if any(
            all(seen.fits(term) for term in selector)
            for seen in _traits_of(one, later)
            for selector in parsed
        )
    ]


def _bounds(
    selectors: Sequence[Selector], later: Mapping[str, Collection[str]]
) -> sa.ColumnElement[bool] | None:
    """The part of the selectors that the database can check, so that it need not read every purchase; None if there is none."""
    bounds = []
    for selector in selectors:
        terms = [condition for term in selector if (condition := _condition(term, later)) is not None]
        if not terms:
            return None
        bounds.append(sa.and_(*terms))
    return sa.or_(*bounds) if bounds else None


def _condition(term: Term, later: Mapping[str, Collection[str]]) -> sa.ColumnElement[bool] | None:
    if term.kind is TermKind.STATE:
        named = _named(term.text)
        among = attempts.c.state.in_(sorted(state.value for state in named))
        return among if AttemptState.DELIVERED in named else sa.and_(NOT_DELIVERED, among)
    if set("*?[") & set(term.text):
        return None
    of_series = attempts.c.series.in_([term.text, *sorted(old for old in later if term.text in later[old])])
    if term.kind is TermKind.SERIES:
        return of_series
    if term.kind is TermKind.NAME:
        of_clip = sa.and_(attempts.c.subject_kind == CLIP, attempts.c.subject_key == term.text)
        return sa.or_(of_clip, of_series)
    return None


def _traits_of(one: Newest, later: Mapping[str, Collection[str]]) -> list[ClipTraits]:
    """A bought clip, under its series' name at that time and under the series' later names."""
    key, endpoints = one.subject_key, {one.endpoint}
    return [
        ClipTraits(key, name, date_in_key(key), one.tags, one.owner, endpoints, {one.state})
        for name in (one.series, *sorted(later.get(one.series, ())))
    ]


class Chooser:
    """Chooses among the declared clips.

    Args:
        ledger: The ledger, for `state:` and `changed`.
        now: The time (aware).
        days: The dates for selectors without one; None is today in the time zone of each series. `state:` without a date covers
            every clip that was ever bought.
    """

    def __init__(
        self, declarations: Declarations, ledger: Ledger, *, now: dt.datetime, days: Days | None = None
    ) -> None:
        self._declarations = declarations
        self._ledger = ledger
        self._now = now
        self._days = days

    def clips(self, selectors: Sequence[str]) -> list[Clip]:
        """The chosen clips in the order of the selectors, each once.

        Raises:
            ConfigurationError: A selector is wrong, names nothing that exists, or chooses too many clips.
        """
        clips: dict[str, Clip] = {}
        for text in selectors:
            (selector,) = parse([text], today=self._now.date())
            for clip in self._chosen_by(text, selector):
                clips.setdefault(clip.key, clip)
                if len(clips) > MAX_CLIPS:
                    raise ConfigurationError(
                        f"{text!r} chooses more than {MAX_CLIPS:,} clips; choose fewer series or days. Nothing was sent."
                    )
        return list(clips.values())

    def _chosen_by(self, text: str, selector: Selector) -> list[Clip]:
        named = next((term for term in selector if self._is_clip(term)), None)
        if named is not None:
            return self._fitting([self._declarations.find(named.text)], selector)
        states = [term for term in selector if term.kind is TermKind.STATE and term.text != "new"]
        if states and not any(term.kind is TermKind.DATE for term in selector):
            return self._fitting(self._bought(states), selector)
        self._check_names(selector)
        clips: list[Clip] = []
        for series in self._declarations.series.values():
            # the date of `today` depends on the series' time zone
            own = parse([text], today=self._today(series))[0]
            if any(term.kind in _OF_SERIES and not _traits_of_series(series).fits(term) for term in own):
                continue
            clips += self._fitting(self._on_its_days(series, own), own)
        return clips

    def _is_clip(self, term: Term) -> bool:
        """Whether a term is the key of one clip.

        Raises:
            ConfigurationError: Nothing has this name.
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
        hint = suggestion(term.text, self._declarations.series)
        return ConfigurationError(f"there is no series {term.text!r}; there are: {known}{hint}{broken}")

    def _check_names(self, selector: Selector) -> None:
        """Refuse a term that no series fits, since it is more likely a misspelling than an empty selection."""
        of_series = [_traits_of_series(series) for series in self._declarations.series.values()]
        for term in selector:
            if term.kind not in _OF_SERIES or any(one.fits(term) for one in of_series):
                continue
            known = {
                TermKind.SERIES: {one.series for one in of_series},
                TermKind.TAG: {f"{name}={value}" for one in of_series for name, value in one.tags.items()},
                TermKind.OWNER: {one.owner for one in of_series if one.owner},
                TermKind.ENDPOINT: {name for one in of_series for name in one.endpoints},
            }[term.kind]
            names = ", ".join(sorted(known)) or "none"
            raise ConfigurationError(
                f"no series fits {str(term)!r}; there are: {names}{suggestion(term.text, known)}"
            )

    def _today(self, series: Series) -> dt.date:
        zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
        return self._now.astimezone(zone).date()

    def _on_its_days(self, series: Series, selector: Selector) -> list[Clip]:
        ranges = [term.days for term in selector if term.days is not None]
        if not series.dated:
            return [] if ranges else series.clips()
        today = self._today(series)
        days: Days | None = ranges[0] if ranges else self._days or Days(today, today)
        for other in ranges[1:]:
            days = days.both(other) if days is not None else None
        if days is None:
            return []
        return [clip for day in schedule_days(series, days.first, days.last) for clip in series.clips(day)]

    def _bought(self, terms: Sequence[Term]) -> list[Clip]:
        """Every declared clip whose newest purchase is in a state that all terms name."""
        states = frozenset.intersection(*(_named(term.text) for term in terms))
        bought = []
        for one in newest(self._ledger, states):
            try:
                bought.append(self._declarations.find(one.subject_key))
            except DailiesError:
                continue
        return bought

    def _fitting(self, clips: Sequence[Clip], selector: Selector) -> list[Clip]:
        asks = {term.kind for term in selector}
        keys = [clip.key for clip in clips]
        bought = self._ledger.latest(keys) if TermKind.CHANGED in asks else {}
        states: dict[str, set[AttemptState]] = {}
        if TermKind.STATE in asks:
            for slot, take in self._ledger.latest_takes(keys).items():
                states.setdefault(slot.clip, set()).add(take.state)
        kept = []
        for clip in clips:
            series = _traits_of_series(self._declarations.series[clip.series])
            attempt = bought.get(clip.key)
            traits = ClipTraits(
                clip.key,
                clip.series,
                clip.date,
                series.tags,
                series.owner,
                {self._declarations.series[clip.series].endpoints.of(clip.name)[0].endpoint.id},
                states.get(clip.key, ()),
                TermKind.CHANGED in asks and attempt is not None and self._has_changed(clip, attempt),
            )
            if all(traits.fits(term) for term in selector):
                kept.append(clip)
        return kept

    def _has_changed(self, clip: Clip, attempt: Attempt) -> bool:
        try:
            return self._declarations.render(clip).fingerprint != attempt.request.fingerprint
        except DailiesError:
            return False


def _traits_of_series(series: Series) -> ClipTraits:
    return ClipTraits("", series.name, None, series.tags, series.owner, series.endpoints.bought)
