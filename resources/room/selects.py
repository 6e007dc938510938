"""The circled takes of a filter, to be fetched as one archive."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resources.export.archive import Archive
from resources.export.selection import wanted_takes
from resources.ledger.ledger import Ledger
from resources.ledger.takes import Take, takes_of
from resources.room.clip_filter import ClipFilter, Show, select_clips
from resources.series import date_in_key
from resources.storage.objects import ObjectStore

MOST_FETCHED = 1_000
"""Most clips of one archive, the newest."""


@dataclass(frozen=True)
class FilteredSelects:
    """The circled takes of some clips."""

    takes: list[Take]
    """By series, day and clip."""
    left_out: dict[str, str]
    """Why other clips are left out, by clip."""
    name: str
    """The archive's name, without its extension."""

    @classmethod
    def of(cls, ledger: Ledger, clip_filter: ClipFilter) -> "FilteredSelects":
        """The circled takes of a filter's clips, independent of the verdicts that the filter shows."""
        clips = select_clips(ledger, replace(clip_filter, show=Show.CIRCLED), most=MOST_FETCHED)
        takes_by_clip = {
            clip: wanted_takes(takes, every=False) for clip, takes in takes_of(ledger, clips).items()
        }
        takes = [take for one in takes_by_clip.values() for take in one.takes]
        left_out = {clip: one.left_out for clip, one in takes_by_clip.items() if one.left_out}
        series = re.sub(r"[^a-z0-9-]", "", clip_filter.series or "")[:60] or "selects"
        # it becomes part of a header, and a link from outside may contain anything
        day = re.sub(r"[^0-9-]", "", clip_filter.day or "")[:10]
        return cls(sorted(takes, key=_place), left_out, "-".join(filter(None, [series, day])))

    def document(self) -> dict[str, Any]:
        """The number and size of the takes, for the page."""
        sizes = [(take.attempt.delivery or {}).get("size") or 0 for take in self.takes]
        return {
            "takes": len(self.takes),
            "megabytes": round(sum(sizes) / 1_000_000, 1),
            "left_out": len(self.left_out),
            "most": MOST_FETCHED,
        }

    def pieces(self, store: ObjectStore, scratch: Path) -> Iterator[bytes]:
        """The archive, piece by piece; see `Archive.pieces`."""
        return Archive(store, scratch, self.takes, self.left_out).pieces()


def _place(take: Take) -> tuple[str, str, str]:
    day = date_in_key(take.attempt.clip)
    return take.attempt.series, "" if day is None else day.isoformat(), take.attempt.clip
