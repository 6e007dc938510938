"""When the picture and the sound of a file play, from the times of their packets.

The demuxer has already applied edit lists, composition offsets, start times and fragments to those times. The module works
on PyAV's objects and does not import PyAV.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from resources.video.boxes import LONGEST_SECONDS, Edits, Movie

MAX_PACKETS = 2_000_000
"""Most packets of all tracks: an hour of film with sound has 500,000."""
LONGEST_SOUND_SECONDS = 0.25
"""The longest duration of one packet of sound, in seconds, even if the table gives more."""

SHORTEST_GAP_SECONDS = 0.01
"""A shorter pause is a rounding error between two time scales."""


class TimelineError(Exception):
    """The times of a file contradict each other, or the file is longer than any clip."""


@dataclass(frozen=True)
class Track:
    """One track on the time line."""

    start: float
    """Seconds from the beginning of the file's presentation."""
    end: float
    """Seconds."""
    gap: tuple[float, float] | None
    """The longest pause between start and end. A picture pauses only by its edit list, because a frame stays until the next."""
    missing_seconds: float
    """Seconds of all pauses."""
    packets: int
    """The number of packets that play; an edit list may drop others."""
    rate: float
    """Average packets per second; 0.0 for a single packet without a length."""

    def plain(self) -> dict[str, Any]:
        """The track for the worker's answer."""
        gap = None if self.gap is None else [round(at, 3) for at in self.gap]
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "gap": gap,
            "missing_seconds": round(self.missing_seconds, 3),
        }


@dataclass(frozen=True)
class Timeline:
    """What plays when."""

    picture: Track
    """The track that is shown."""
    sound: Track | None
    """The track that is heard; None if there is none, or if it has no samples."""
    origin: float
    """Seconds to subtract from a packet's own time for its time in the presentation."""
    missing: bool
    """The index names bytes after the end of the file."""
    keys: tuple[float, ...] = ()
    """Seconds of the picture's key frames."""

    @property
    def duration(self) -> float:
        """Seconds until the last track has ended."""
        return max((track.end for track in (self.picture, self.sound) if track is not None), default=0.0)


def read(container: Any, picture: Any, sound: Any, *, size_bytes: int, movie: Movie) -> Timeline:
    """Read every packet of a container to its end; nothing is decoded.

    Args:
        container: An open input container, at its beginning.
        picture: The stream that is shown.
        sound: The stream that is heard, or None.
        size_bytes: The size of the file.
        movie: A fragmented file counts from its earliest packet, because recorders begin fragments at the time of day.

    Raises:
        TimelineError: The file has no frame, too many packets, or plays too long.
        av.error.FFmpegError: The demuxer gives up.
    """
    spans = {picture.index: _Spans()}
    if sound is not None:
        spans[sound.index] = _Spans()
    keys, shown_index = array("d"), picture.index
    # a property of PyAV and of a fraction is slow for every packet
    bases = {
        one.index: (one.time_base.numerator, one.time_base.denominator)
        for one in (picture, sound)
        if one is not None
    }
    for count, packet in enumerate(container.demux([stream for stream in (picture, sound) if stream])):
        if count >= MAX_PACKETS:
            raise TimelineError("it has too many frames")
        if packet.pts is not None and packet.size and not packet.is_discard:
            index = packet.stream_index
            numerator, denominator = bases[index]
            start = packet.pts * numerator / denominator
            spans[index].add(start, (packet.duration or 0) * numerator / denominator)
            if index == shown_index and packet.is_keyframe:
                keys.append(start)
    starts = [min(one.starts) for one in spans.values() if one.starts]
    origin = min(starts, default=0.0) if movie.fragmented else 0.0
    shown = spans[picture.index].shown(origin)
    heard = None if sound is None else spans[sound.index].heard(origin)
    missing = _is_missing(container.streams, size_bytes)
    if shown is None:
        raise TimelineError("its end is missing" if missing else "it lists no frames")
    timeline = Timeline(shown, heard, origin, missing, tuple(sorted(max(0.0, at - origin) for at in keys)))
    if not timeline.duration < LONGEST_SECONDS:
        raise TimelineError("its index contradicts itself")
    return replace(
        timeline,
        picture=_with_gaps(shown, edits_of(movie, picture).empty),
        sound=None if heard is None else _with_gaps(heard, edits_of(movie, sound).empty),
    )


def edits_of(movie: Movie, stream: Any) -> Edits:
    """The part of a stream's edit list that the demuxer ignored."""
    return Edits() if stream is None else movie.edits.get(stream.id, Edits())


def _with_gaps(track: Track, gaps: Iterable[tuple[float, float]]) -> Track:
    gaps = list(gaps)
    known = [*gaps, *([track.gap] if track.gap else [])]
    longest = max(known, key=lambda gap: gap[1] - gap[0], default=None)
    missing = sum(end - start for start, end in gaps)
    return replace(track, gap=longest, missing_seconds=track.missing_seconds + missing)


class _Spans:
    """Beginning and end of each packet of a track, in seconds."""

    def __init__(self) -> None:
        self.starts, self.lengths = array("d"), array("d")

    def add(self, start: float, seconds: float) -> None:
        self.starts.append(start)
        self.lengths.append(max(0.0, seconds))

    def shown(self, origin: float) -> Track | None:
        count = len(self.starts)
        if count == 0:
            return None
        first, last = min(self.starts), max(self.starts)
        # a fragment may omit the duration of its last frame; take that of the others
        usual = (last - first) / (count - 1) if count > 1 else self.lengths[0]
        end = max(start + (length or usual) for start, length in zip(self.starts, self.lengths, strict=True))
        rate = 1 / usual if usual else 0.0
        return Track(max(0.0, first - origin), end - origin, None, 0.0, count, rate)

    def heard(self, origin: float) -> Track | None:
        if not self.starts:
            return None
        # some recorders write a pause as one long packet; its samples play about as long as those of other packets
        longest = min(LONGEST_SOUND_SECONDS, 2 * median(self.lengths) or LONGEST_SOUND_SECONDS)
        played = sorted(
            (max(0.0, start - origin), start - origin + min(length, longest))
            for start, length in zip(self.starts, self.lengths, strict=True)
        )
        first, until = played[0]
        gaps: list[tuple[float, float]] = []
        for start, end in played:
            if start - until > SHORTEST_GAP_SECONDS:
                gaps.append((until, start))
            until = max(until, end)
        rate = len(played) / until if until else 0.0
        return _with_gaps(Track(first, until, None, 0.0, len(played), rate), gaps)


def _is_missing(streams: Iterable[Any], size_bytes: int) -> bool:
    """Whether the demuxer's index has a sample after the end of the file."""
    indexes = [stream.index_entries for stream in streams]
    if sum(map(len, indexes)) > MAX_PACKETS:
        raise TimelineError("it has too many frames")
    return any(entry.pos + entry.size > size_bytes for index in indexes for entry in index)
