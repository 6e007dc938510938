"""The gallery's pages in the bucket: one of all series, and one for each."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from resources.gallery.cards import read_cards
from resources.gallery.figures import read_figures, series_of
from resources.gallery.pages import INDEX, GalleryPage, has_page
from resources.ledger.former_names import titles_by_every_name
from resources.ledger.ledger import Ledger
from resources.ledger.schema import journal
from resources.storage.layout import SHEETS
from resources.storage.objects import ObjectStore

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Written:
    """A gallery in the bucket."""

    index: str
    """Key of its first page."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 (16 hex digits) of every page by key."""
    changed: list[str] = field(default_factory=list)
    """Keys of the written pages; the other pages were up to date."""
    clips: int = 0
    """The number of clips."""
    size: int = 0
    """Size of all pages in bytes."""


def write_gallery(
    ledger: Ledger,
    store: ObjectStore,
    *,
    dagster: str,
    titles: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
) -> Written:
    """Write the pages that have changed.

    Args:
        dagster: Address of Dagster's UI, for links.
        titles: Titles of series, by name.
        known: Digests of the pages in the bucket from the last time; None writes all pages.

    Raises:
        resources.errors.DailiesError: The ledger or the bucket does not answer; written pages stay.
    """
    digests, changed, size, clips = {}, [], 0, 0
    sheets = list(store.list_keys(SHEETS))
    with ledger.read() as connection:
        titles = titles_by_every_name(connection, titles or {})
    # the page of all series last, because it links to the others
    for series in (*filter(has_page, series_of(ledger)), None):
        figures = read_figures(ledger, series=series)
        mine = [key for key in sheets if key.startswith(f"{SHEETS}{series}/")]
        page = GalleryPage(read_cards(ledger, series=series), figures, dagster, series, titles, mine)
        html = page.html()
        digest = hashlib.sha256(html).hexdigest()[:16]
        digests[page.key] = digest
        size += len(html)
        clips = figures.total
        if (known or {}).get(page.key) != digest:
            store.put_bytes(page.key, html, content_type=HTML, overwrite=True)
            changed.append(page.key)
    return Written(INDEX, digests, changed, clips, size)


def newest_change(ledger: Ledger) -> int:
    """The number of the ledger's newest journal entry; a gallery made at this number is up to date."""
    with ledger.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0)
