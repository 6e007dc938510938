"""Contact sheets: the posters of a series' clips of one day, as one picture in the bucket."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from resources.ledger import locks
from resources.ledger.ledger import Ledger
from resources.ledger.newest import newest
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.storage.layout import poster_key, quarantined, sheet_key
from resources.storage.objects import ObjectStore
from resources.video.inspector import VideoInspector
from resources.video.sheets import MOST

READERS = 8


@dataclass(frozen=True)
class Sheet:
    """A contact sheet that was written."""

    series: str
    """The series of the clips."""
    day: str
    """The day (YYYY-MM-DD, in the budget's time zone) on which the clips were bought."""
    uri: str
    """The address of the sheet in the bucket."""
    picture: bytes
    """The sheet as WebP."""
    clips: tuple[str, ...]
    """The clips on it, row by row from left to right."""
    failed: tuple[str, ...]
    """The clips on it that failed a check; the sheet frames them in red."""
    missing: tuple[str, ...]
    """Clips of the day without a picture: still open, failed at the provider, or too many for one sheet."""


def write_sheet(
    ledger: Ledger,
    store: ObjectStore,
    inspector: VideoInspector,
    *,
    series: str,
    day: str,
    posters: Mapping[str, bytes],
) -> Sheet | None:
    """Write the sheet of a series and a day from the posters in the bucket.

    Args:
        ledger: The ledger, for the clips of the day.
        store: The bucket of the posters and the sheet.
        inspector: Composes the sheet.
        series: The series of the clips.
        day: The day, as in `Attempt.counted_on`.
        posters: Posters in memory, by their keys in the bucket; the others are read from the bucket.

    Returns:
        The sheet; None if no clip has a poster yet.

    Raises:
        DailiesError: The bucket, the ledger or the composing process does not answer.
    """
    # the last process that gets the lock sees the deliveries of all processes before it
    name = hashlib.sha256(f"{series} {day}".encode()).hexdigest()[:32]
    with locks.hold(ledger, f"sheet:{name}"):
        of_day = newest(ledger, series=series, where=attempts.c.counted_on == day)
        bought = list(ledger.attempts(one.id for one in of_day).values())
        with_video = [a for a in bought if a.state in {AttemptState.DELIVERED, AttemptState.QUARANTINED}]
        with ThreadPoolExecutor(READERS) as pool:
            pictures = list(pool.map(lambda attempt: _poster(store, attempt, posters), with_video[:MOST]))
        shown = [(a, poster) for a, poster in zip(with_video, pictures, strict=False) if poster is not None]
        if not shown:
            return None
        failed = [a.state is AttemptState.QUARANTINED for a, _ in shown]
        picture = inspector.compose([poster for _, poster in shown], failed)
        key = sheet_key(series, day)
        store.put_bytes(key, picture, content_type="image/webp", overwrite=True)
    clips = [a.clip for a, _ in shown]
    return Sheet(
        series=series,
        day=day,
        uri=store.uri(key),
        picture=picture,
        clips=tuple(clips),
        failed=tuple(clip for clip, bad in zip(clips, failed, strict=True) if bad),
        missing=tuple(a.clip for a in bought if a.clip not in clips),
    )


def _poster(store: ObjectStore, attempt: Attempt, posters: Mapping[str, bytes]) -> bytes | None:
    key = poster_key(attempt.clip, attempt.id)
    key = quarantined(key) if attempt.state is AttemptState.QUARANTINED else key
    return posters.get(key) or store.get_bytes(key)
