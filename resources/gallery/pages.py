"""One page of the gallery as HTML: no framework, everything escaped, and nothing loaded but posters and videos.

A page's Content-Security-Policy allows exactly its own script and style, by their digest. A stranger's script in a prompt could
not run even without the escaping.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from markupsafe import Markup

from resources.gallery.cards import Card, Group
from resources.gallery.figures import Figures
from resources.ledger.states import AttemptState
from resources.money import show_cents

FOLDER = "gallery/"
INDEX = f"{FOLDER}index.html"

_SERIES = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_COLOURS = 8
_FEWEST_COLUMNS = 14
_SHEETS = 14
_SOURCES = Path(__file__).parent / "page"


@dataclass(frozen=True)
class GalleryPage:
    """The content of one page."""

    cards: Sequence[Card]
    """The clips, in their order."""
    figures: Figures
    """The sums."""
    dagster: str
    """Address of Dagster's UI."""
    series: str | None = None
    """The series of the page, None for the page of all series."""
    titles: Mapping[str, str] | None = None
    """Titles of series, by name."""
    sheets: Sequence[str] = ()
    """Keys of the series' contact sheets, oldest day first."""

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return page_key(self.series)

    def _title(self, series: str) -> str:
        return (self.titles or {}).get(series, series)

    def _by_series_and_day(self) -> list[tuple[str, str, list[Card]]]:
        """Title, day and cards of each series and day: series by their titles, the newest day first, clips in the order of purchase."""
        groups: dict[tuple[str, str], list[Card]] = {}
        for card in reversed(self.cards):
            groups.setdefault((card.series, card.day), []).append(card)
        days = sorted(groups, key=lambda of: of[1], reverse=True)
        ordered = sorted(days, key=lambda of: (self._title(of[0]).casefold(), of[0]))
        return [(self._title(series), day, groups[series, day]) for series, day in ordered]

    def html(self) -> bytes:
        """The page as HTML. Equal content gives equal bytes."""
        up = "../" if self.series is None else "../../"
        css, script = _text("gallery.css"), _text("gallery.js")
        names = sorted({card.series for card in self.cards}) if self.series is None else []
        links = {name: page_key(name).removeprefix(FOLDER) for name in names if has_page(name)}
        heading = "Gallery" if self.series is None else self._title(self.series)
        days = [card.day for card in self.cards]
        text = (
            _environment()
            .get_template("page.html.jinja")
            .render(
                policy=_policy(css, script),
                css=Markup(css),  # noqa: S704 - our own files, which the policy names by their digest
                script=Markup(script),  # noqa: S704
                up=up,
                series=self.series,
                title="dailies" if self.series is None else f"{heading} - dailies",
                heading=heading,
                pages=[(self._title(name), href) for name, href in links.items()],
                named=self._title,
                links=links,
                sheets=[(PurePosixPath(key).stem, key) for key in reversed(self.sheets[-_SHEETS:])],
                groups=_groups(self.figures),
                figures=self.figures,
                spend=_spend(self.figures),
                plots=_plots(self.figures, self._title if self.series is None else str),
                choices={
                    "series": [(name, self._title(name)) for name in names],
                    "state": [
                        group.value for group in Group if any(card.group is group for card in self.cards)
                    ],
                    "model": sorted({card.bought for card in self.cards}),
                    "first": min(days, default=""),
                    "last": max(days, default=""),
                },
                groups_of_cards=self._by_series_and_day(),
                cards=self.cards,
                dagster=self.dagster,
            )
        )
        return text.encode("utf-8", "replace")


def has_page(series: str) -> bool:
    """Whether a series' name can be in a page's key; every declared name can."""
    return _SERIES.fullmatch(series) is not None


def page_key(series: str | None) -> str:
    """The key of a series' page, or of the page of all series.

    Raises:
        ValueError: The name cannot be in a key.
    """
    if series is None:
        return INDEX
    if not has_page(series):
        raise ValueError(f"{series!r} cannot be the name of a page")
    return f"{FOLDER}series/{series}.html"


def _policy(css: str, script: str) -> str:
    # a page opened from a file has no origin, so its pictures need `file:`
    return (
        f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(script)}; img-src 'self' file: data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _text(name: str) -> str:
    return (_SOURCES / name).read_text()


@cache
def look() -> str:
    """A digest of template, style and script, which changes when pages look different."""
    sources = "".join(_text(name) for name in ("page.html.jinja", "gallery.css", "gallery.js"))
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_SOURCES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["usd"] = show_cents
    environment.filters["slug"] = lambda text: re.sub(r"[^a-z0-9]+", "-", str(text).lower())
    environment.filters["seconds"] = _seconds
    return environment


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _groups(figures: Figures) -> list[tuple[str, int]]:
    counts: dict[Group, int] = {}
    for state, count in figures.clips.items():
        group = Group.of(AttemptState(state))
        counts[group] = counts.get(group, 0) + count
    return [(group.value, counts[group]) for group in Group if group in counts]


def _spend(figures: Figures) -> dict[str, Any]:
    """The stacked columns of the days, in a picture of height 100; the smallest series share one part."""
    totals: dict[str, int] = {}
    for parts in figures.spend.values():
        for name, micros in parts.items():
            totals[name] = totals.get(name, 0) + micros
    largest = sorted(totals, key=lambda name: (-totals[name], name))
    own = largest if len(largest) <= _COLOURS else largest[: _COLOURS - 1]
    colours = {name: number for number, name in enumerate(own)}
    highest = max((sum(parts.values()) for parts in figures.spend.values()), default=0)
    legend = list(colours.items()) + ([("others", _COLOURS - 1)] if len(own) < len(largest) else [])
    days = []
    for number, (day, parts) in enumerate(figures.spend.items()):
        by = {name: parts[name] for name in own if parts.get(name)}
        if rest := sum(micros for name, micros in parts.items() if name not in colours):
            by["others"] = rest
        drawn, top = [], 100.0
        for name, micros in by.items():
            height = 100 * micros / highest if highest else 0
            top -= height
            drawn.append(
                {
                    "name": name,
                    "micros": micros,
                    "colour": colours.get(name, _COLOURS - 1),
                    "y": f"{max(0.0, top):.2f}",
                    "height": f"{height:.2f}",
                }
            )
        days.append(
            {"day": day, "x": number * 10 + 1, "parts": drawn, "by": by, "micros": sum(parts.values())}
        )
    return {
        "days": days if highest else [],
        "legend": legend,
        "highest": highest,
        "width": max(_FEWEST_COLUMNS, len(days)) * 10,
    }


def _plots(figures: Figures, named: Callable[[str], str]) -> list[dict[str, Any]]:
    """The plots in plain words.

    Args:
        named: The title of a series, or the unchanged name of a model.
    """
    costs = [c for c in figures.unit_costs if c.micros or c.delivered]
    dearest = max((c.each_micros or 0 for c in costs), default=0)
    slowest = max((t.ninetieth for t in figures.times), default=0.0)
    most = max((count for _, count in figures.failures), default=0)
    return [
        {
            "title": "Cost of one finished clip, failed purchases included",
            "colour": "money",
            "nothing": "nothing was bought yet",
            "bars": [
                _bar(
                    named(c.name),
                    c.each_micros or 0,
                    dearest,
                    f"{show_cents(c.each_micros)} each, {c.delivered} made",
                )
                if c.each_micros is not None
                else _bar(named(c.name), 0, 0, f"none made, {show_cents(c.micros)} spent")
                for c in costs
            ],
        },
        *_worth(figures, named),
        {
            "title": "Time of a model's jobs",
            "colour": "time",
            "nothing": "no job has ended yet",
            "bars": [
                _bar(
                    t.name,
                    t.median,
                    slowest,
                    f"usually {_seconds(t.median)}; nine of ten in {_seconds(t.ninetieth)}",
                    t.ninetieth,
                )
                for t in figures.times
            ],
        },
        {
            "title": "Reasons of purchases without a clip",
            "colour": "fault",
            "nothing": "every purchase made a clip",
            "bars": [_bar(why, count, most, str(count)) for why, count in figures.failures],
        },
    ]


def _worth(figures: Figures, named: Callable[[str], str]) -> list[dict[str, Any]]:
    """The cost of one chosen take, and the reasons of rejections; nothing before the first verdict."""
    if not figures.worth:
        return []
    dearest = max((line.each_micros or 0 for line in figures.worth), default=0)
    reasons = sum((line.reasons for line in figures.worth), Counter())
    most = max(reasons.values(), default=0)
    return [
        {
            "title": "Cost of one chosen take, all other purchases included",
            "colour": "money",
            "nothing": "",
            "bars": [
                _bar(
                    named(line.name),
                    line.each_micros or 0,
                    dearest,
                    f"{show_cents(line.each_micros)} each, {line.circled} chosen"
                    if line.circled
                    else f"none chosen, {show_cents(line.spent_micros)} spent",
                )
                for line in figures.worth
            ],
        },
        {
            "title": "Reasons of rejected takes",
            "colour": "fault",
            "nothing": "no take was rejected",
            "bars": [_bar(why, count, most, str(count)) for why, count in reasons.most_common()],
        },
    ]


def _bar(name: str, value: float, longest: float, text: str, faint: float | None = None) -> dict[str, Any]:
    def width(of: float) -> str:
        return f"{100 * of / longest:.1f}" if longest else "0"

    return {
        "name": name,
        "width": width(value),
        "faint": None if faint is None else width(faint),
        "text": text,
    }
