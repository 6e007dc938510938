"""One page of the gallery as HTML: no framework, everything escaped, and nothing loaded but posters and videos.

A page's Content-Security-Policy allows exactly its own script and style, by their digest. A stranger's script in a prompt could
not run even without the escaping.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from markupsafe import Markup

from resources.gallery.cards import Card, Group
from resources.gallery.figures import Figures
from resources.ledger.states import AttemptState
from resources.money import show_usd

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

    def html(self) -> bytes:
        """The page as HTML. Equal content gives equal bytes."""
        up = "../" if self.series is None else "../../"
        css, script = _text("gallery.css"), _text("gallery.js")
        names = sorted({card.series for card in self.cards}) if self.series is None else []
        links = {name: page_key(name).removeprefix(FOLDER) for name in names if has_page(name)}
        heading = "Gallery" if self.series is None else (self.titles or {}).get(self.series, self.series)
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
                pages=[((self.titles or {}).get(name, name), href) for name, href in links.items()],
                links=links,
                sheets=[(PurePosixPath(key).stem, key) for key in reversed(self.sheets[-_SHEETS:])],
                groups=_groups(self.figures),
                figures=self.figures,
                spend=_spend(self.figures),
                plots=_plots(self.figures, by="endpoint" if self.series else "series"),
                choices={
                    "series": names,
                    "state": [
                        group.value for group in Group if any(card.group is group for card in self.cards)
                    ],
                    "model": sorted({card.bought for card in self.cards}),
                    "first": min(days, default=""),
                    "last": max(days, default=""),
                },
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
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_SOURCES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["usd"] = show_usd
    found.filters["slug"] = lambda text: re.sub(r"[^a-z0-9]+", "-", str(text).lower())
    found.filters["seconds"] = _seconds
    return found


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


def _plots(figures: Figures, *, by: str) -> list[dict[str, Any]]:
    costs = [c for c in figures.unit_costs if c.micros or c.delivered]
    dearest = max((c.each_micros or 0 for c in costs), default=0)
    slowest = max((t.ninetieth for t in figures.times), default=0.0)
    most = max((count for _, count in figures.failures), default=0)
    return [
        {
            "title": f"Cost of a delivered clip by {by}, with what failed on the way",
            "colour": "money",
            "nothing": "nothing was bought yet",
            "bars": [
                _bar(
                    c.name,
                    c.each_micros or 0,
                    dearest,
                    f"{show_usd(c.each_micros)} \N{MULTIPLICATION SIGN} {c.delivered}",
                )
                if c.each_micros is not None
                else _bar(c.name, 0, 0, f"none delivered, {show_usd(c.micros)} spent")
                for c in costs
            ],
        },
        {
            "title": "Time by endpoint: median, and nine of ten",
            "colour": "time",
            "nothing": "no job has ended yet",
            "bars": [
                _bar(
                    t.name,
                    t.median,
                    slowest,
                    f"{_seconds(t.median)}, {_seconds(t.ninetieth)}",
                    t.ninetieth,
                )
                for t in figures.times
            ],
        },
        {
            "title": "Purchases that came to nothing, by reason",
            "colour": "fault",
            "nothing": "none",
            "bars": [_bar(why, count, most, str(count)) for why, count in figures.failures],
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
