"""Parses the selectors of clips, as in dbt: a space adds a selector, a comma inside one narrows it.

`harbor-* tag:coast,yesterday` chooses every clip of the series that begin with `harbor-`, and yesterday's clips of the series with
the tag `coast`. This module only parses; `resources.planning.choice` finds the clips.
"""

import datetime as dt
import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.ledger.states import AttemptState

MAX_DAYS = 1000
"""Most days of a range."""


class TermKind(StrEnum):
    """The fact that a term compares. The value is the prefix; `name`, `date` and `changed` have none."""

    NAME = "name"
    SERIES = "series"
    TAG = "tag"
    OWNER = "owner"
    STATE = "state"
    ENDPOINT = "endpoint"
    DATE = "date"
    CHANGED = "changed"


PREFIXES = (TermKind.SERIES, TermKind.TAG, TermKind.OWNER, TermKind.STATE, TermKind.ENDPOINT)
DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
STATES = ("failed", "open", "new", *(state.value for state in AttemptState if state.value != "failed"))
"""The values of `state:`. `failed` is every end without a delivery, `new` was never bought."""
ALLOWED = (
    "a series, a clip or a pattern such as harbor-*, "
    + ", ".join(f"{kind}:" for kind in PREFIXES)
    + ", changed, today, yesterday, tomorrow, 2026-11-20, 2026-11-01..07"
)
RESERVED = frozenset({*DAYS, TermKind.CHANGED.value})
"""Words without a prefix that are not names."""
_NAME = re.compile(r"[a-z0-9*?\[\]!-]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}")
_OTHER_DATE = re.compile(r"[0-9]{1,4}([./])[0-9]{1,2}\1[0-9]{1,4}")
_FILE = re.compile(r"(?:.*/)?([^/]+?)(?:\.ya?ml)?")
_SHORT_END = re.compile(r"(?:([0-9]{1,2})-)?([0-9]{1,2})")


@dataclass(frozen=True)
class Days:
    """A date, or a range of dates."""

    first: dt.date
    last: dt.date

    @classmethod
    def of(cls, first: dt.date, last: dt.date) -> "Days":
        """A range as a person types it.

        Raises:
            ConfigurationError: It ends before it begins, or is too long.
        """
        if last < first:
            raise ConfigurationError(f"the range ends on {last}, before it begins on {first}")
        if (last - first).days >= MAX_DAYS:
            raise ConfigurationError(f"the range is longer than {MAX_DAYS:,} days; choose a shorter one")
        return cls(first, last)

    @property
    def is_range(self) -> bool:
        """Whether it may have several days. If so, the schedule decides on which of them there are clips."""
        return self.first != self.last

    def both(self, other: "Days") -> "Days | None":
        """The days that are in both; None if there are none."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return Days(first, last) if first <= last else None


@dataclass(frozen=True)
class Term:
    """One part of a selector."""

    kind: TermKind
    text: str
    """The part as it was written, without the prefix."""
    days: Days | None = None
    """The days of a date term."""

    def fits(self, value: str | None) -> bool:
        """Whether a value is the named one, or matches the pattern."""
        return value is not None and fnmatch.fnmatchcase(value, self.text)

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}" if self.kind in PREFIXES else self.text


Selector = tuple[Term, ...]
"""It chooses the clips that fit all of its terms."""


def parse(selectors: Iterable[str], *, today: dt.date) -> list[Selector]:
    """Parse the selectors of a command.

    Args:
        today: The date of the word `today`.

    Raises:
        ConfigurationError: A part is not valid; the text names it and what is allowed.
    """
    return [tuple(_term(part, selector, today) for part in selector.split(",")) for selector in selectors]


def _term(part: str, selector: str, today: dt.date) -> Term:
    if not part:
        raise _refused(selector, "a comma has nothing on one of its sides")
    prefix, equals, value = part.partition("=")
    if equals and prefix in PREFIXES:
        raise _refused(part, f"write {prefix}:{value}")
    prefix, colon, value = part.partition(":")
    if colon:
        return _prefixed(prefix, value, selector)
    if part == TermKind.CHANGED:
        return Term(TermKind.CHANGED, part)
    if part in DAYS or ".." in part or _DATE.fullmatch(part):
        return Term(TermKind.DATE, part, _days(part, selector, today))
    if not _NAME.fullmatch(part):
        raise _refused(part, _meant(part) or f"allowed: {ALLOWED}")
    return Term(TermKind.NAME, part)


def _meant(part: str) -> str | None:
    """Advice about a word that names nothing, e.g. a date in another format; None if its meaning is not clear."""
    if _OTHER_DATE.fullmatch(part):
        return "a date is written as 2026-11-20"
    name = _FILE.sub(r"\1", part).lower().replace("_", "-")
    return (
        f"a series or clip is named as in its file; did you mean {name!r}?" if _NAME.fullmatch(name) else None
    )


def _prefixed(prefix: str, value: str, selector: str) -> Term:
    if prefix not in PREFIXES:
        hint = suggestion(prefix, PREFIXES)
        raise _refused(
            f"{prefix}:",
            f"there is no such selector; allowed: {', '.join(f'{kind}:' for kind in PREFIXES)}{hint}",
        )
    if not value:
        raise _refused(selector, f"{prefix}: has no value after it")
    kind = TermKind(prefix)
    if kind is TermKind.STATE and value not in STATES:
        raise _refused(
            f"{prefix}:{value}",
            f"there is no such state; allowed: {', '.join(STATES)}{suggestion(value, STATES)}",
        )
    return Term(kind, value)


def _days(part: str, selector: str, today: dt.date) -> Days:
    begin, dots, end = part.partition("..")
    first = _date(begin, selector, today)
    if not dots:
        return Days(first, first)
    short = _SHORT_END.fullmatch(end)
    if short is not None:
        # 2026-11-01..07 and 2026-11-01..12-03
        end = f"{first.year:04}-{int(short[1] or first.month):02}-{int(short[2]):02}"
    last = _date(end, selector, today)
    if last < first:
        raise _refused(part, "the range ends before it begins")
    if (last - first).days >= MAX_DAYS:
        raise _refused(part, f"the range is longer than {MAX_DAYS:,} days")
    return Days(first, last)


def _date(text: str, selector: str, today: dt.date) -> dt.date:
    if text in DAYS:
        return today + dt.timedelta(days=DAYS[text])
    if not _DATE.fullmatch(text):
        raise _refused(
            selector,
            f"{text or 'nothing'!r} is no date; allowed: today, yesterday, tomorrow, 2026-11-20, 2026-11-01..07",
        )
    try:
        return dt.date(*map(int, text.split("-")))
    except ValueError:
        raise _refused(selector, f"the date {text} does not exist") from None


def _refused(part: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"cannot choose clips by {part!r}: {why}")
