"""Declared clips without a take, whose first take people can buy in the room."""

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from resources.ledger.ledger import Ledger
from resources.ledger.takes import ClipTakes, takes_of
from resources.room.clip_filter import MOST, ClipFilter
from resources.series import Clip, Declarations, Series

_LOOKED_AT = 3_000
"""The most declared clips that are looked up in the ledger."""


def unmade_clips(
    ledger: Ledger, declarations: Declarations, clip_filter: ClipFilter, *, now: float
) -> list[tuple[Clip, ClipTakes]]:
    """The declared clips without a video, in the order of their files; of dated series only those of today.

    Args:
        clip_filter: The filter, of which only series and text apply.
        now: Seconds since the epoch.
    """
    declared = [
        clip
        for series in declarations.series.values()
        if clip_filter.series in {None, series.name}
        for clip in series.clips(_today(series, now))
        if clip_filter.text.lower() in clip.key
    ][:_LOOKED_AT]
    by_clip = takes_of(ledger, [clip.key for clip in declared])
    return list(_without_video(declared, by_clip))[:MOST]


def _without_video(declared: list[Clip], by_clip: dict[str, ClipTakes]) -> Iterator[tuple[Clip, ClipTakes]]:
    for clip in declared:
        takes = by_clip.get(clip.key, ClipTakes(clip.key, (), (), 0, 0))
        if not takes.takes:
            yield clip, takes


def _today(series: Series, now: float) -> dt.date:
    zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
    return dt.datetime.fromtimestamp(now, zone).date()
