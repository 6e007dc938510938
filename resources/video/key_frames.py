"""The parts of a clip between its key frames, and which of them can only be judged by all of their frames.

A black or still stretch that counts is at least two parts long. So it contains two key frames that look alike, or a dark
one. Parts beside such key frames are decoded completely; in the others the picture moves. Only the guarded worker loads it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from resources.video.display import Display
from resources.video.stretches import HIGH, MOST, STILL_LEVEL, WIDE, is_black, is_still
from resources.video.timeline import Timeline, edits_of

ALIKE_LEVEL = 2 * STILL_LEVEL
"""Two frames of one still stretch differ from its first frame by `STILL_LEVEL` each, so from each other by twice that."""


class Parts:
    """The parts of a clip, each from a key frame to the next.

    Args:
        starts: Seconds of the key frames.
        end: Seconds of the clip's end.
        whole: Whether each part is decoded completely.
    """

    def __init__(self, starts: Sequence[float], end: float, whole: Sequence[bool]) -> None:
        self.starts, self.ends, self.whole = starts, [*starts[1:], end], whole

    def at(self, seconds: float) -> int:
        """The number of the part in which a frame is shown."""
        return max(0, bisect_right(self.starts, seconds + 0.001) - 1)


def are_close(line: Timeline, shortest_seconds: float) -> bool:
    """Whether the key frames are so close that every stretch contains two of them that is too long for a check.

    Args:
        shortest_seconds: The shortest such stretch in a long clip.
    """
    if not line.keys or line.keys[0] > line.picture.start + 0.001:
        return False
    apart = max(end - start for start, end in pairwise([*line.keys, line.duration]))
    return apart <= min(shortest_seconds, MOST * line.duration) / 2 + 0.001


def parts_of(container: Any, picture: Any, line: Timeline) -> Parts | None:
    """The parts of a clip, judged by its key frames; None if the decoder does not give one picture for each of them.

    Args:
        container: An open input container, at its beginning.
        picture: The stream that is shown.
    """
    display, shape = Display(), []
    for packet in container.demux(picture):
        if packet.is_keyframe and packet.size and not packet.is_discard:
            frames = [*packet.decode(), *drained(picture)]
            if len(frames) != 1:
                return None
            shape.append(display.blocks(frames[0], WIDE, HIGH))
    if len(shape) != len(line.keys):
        return None
    dark = [is_black(small) for small in shape]
    # the last part has no key frame behind it: it is as dark as its own, and too short to be still
    unclear = [
        dark[number] or dark[number + 1] or is_still(one, other, ALIKE_LEVEL)
        for number, (one, other) in enumerate(pairwise(shape))
    ] + dark[-1:]
    # a stretch begins and ends in the parts beside
    whole = [any(unclear[max(0, number - 1) : number + 2]) for number in range(len(unclear))]
    return Parts(line.keys, line.duration, whole)


def drained(picture: Any) -> list[Any]:
    """The frames that the decoder still holds. It is ready for a key frame afterwards."""
    from av import Packet

    end = Packet()
    end.stream, end.time_base = picture, picture.time_base
    frames = list(end.decode())
    picture.codec_context.flush_buffers()
    return frames


def can_be_left_out(movie: Any, picture: Any) -> bool:
    """Whether frames may be left out: not where an edit list lets frames stand or nothing play."""
    cuts = edits_of(movie, picture)
    return not cuts.empty and not cuts.still
