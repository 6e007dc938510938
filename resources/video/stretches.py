"""Black, still and silent stretches of a clip, with some frames and a perceptual hash.

A frame is reduced to 64 by 36 blocks of average brightness: noise and grain disappear, movement remains. The module works on
PyAV's frames and does not import PyAV.
"""

from array import array
from itertools import pairwise
from operator import sub
from typing import Any

from resources.video.display import Display

WIDE, HIGH = 64, 36
"""Blocks of a reduced frame."""
BLACK_LEVEL = 13
"""A block is black up to this brightness (0 to 255): 5 %."""
BLACK_SHARE = 0.98
"""A frame is black when so many of its blocks are, ..."""
LIT_LEVEL = 48
"""... and none is brighter than this: a few lights in the night are a picture."""
STILL_LEVEL = 6
"""The picture is still while no block's brightness differs by more from the first frame of the stretch.

Encoders keep refining a still picture, so its blocks change by a few levels.
"""
SAMPLED = 31
"""One in so many samples of sound, or blocks of a picture, is looked at first: a few are enough for most."""
SILENT_LEVEL = 32
"""Sound is silent while no 16-bit sample is further from zero: -60 dBFS."""
FRAMES = 6
"""Frames of the strip and of the hash, spread evenly over the clip."""

MOST = 0.9
"""Share of a short clip: a clip shorter than the allowed stretch fails if one black or still stretch is that long."""
SHORTEST_SECONDS = 0.25
"""A shorter stretch is not reported."""
DARK = 16
"""A frame with at most this average brightness becomes the poster only if all frames are that dark."""

_HASH_WIDE, _HASH_HIGH = 9, 8
_FLAT = 2
"""A picture with less variation of brightness has no shapes for a hash."""


class Longest:
    """The longest stretch of time in which a condition held."""

    def __init__(self) -> None:
        self._found: tuple[float, float] | None = None
        self._since: float | None = None

    def see(self, at: float, until: float, *, holds: bool) -> None:
        """Report whether the condition held from `at` to `until`."""
        if not holds:
            self._since = None
            return
        self._since = at if self._since is None else self._since
        self.span(self._since, until)

    def span(self, start: float, end: float) -> None:
        """Report that the condition held from `start` to `end`."""
        if self._found is None or end - start > self._found[1] - self._found[0]:
            self._found = start, end

    def plain(self) -> list[float] | None:
        """Beginning and end in seconds; None if no stretch was long enough to report."""
        if self._found is None or self._found[1] - self._found[0] < SHORTEST_SECONDS:
            return None
        return [round(time, 3) for time in self._found]


class Picture:
    """Watches the frames of a clip in their order.

    Args:
        seconds: The duration of the clip.
        tile_width: Pixels of each kept frame.

    Attributes:
        display: How a player shows the frames.
        tiles: The frames of the strip, as displayed.
        poster: The first frame that is not dark, else the brightest.
        looked: Seconds of the clip that were watched. The time before the first frame counts as black.
    """

    def __init__(self, seconds: float, tile_width: int) -> None:
        self.display = Display()
        self.tiles: list[Any] = []
        self.poster: Any = None
        self.looked = 0.0
        self._marks: list[tuple[bytes, bytes]] = []
        self._targets = [seconds * (number + 0.5) / FRAMES for number in range(FRAMES)]
        self._tile_width = tile_width
        self._light = -1.0
        self._black, self._still = Longest(), Longest()
        self._black_now = True
        self._reference: tuple[float, bytes] | None = None
        self._last: Any = None

    def see(self, frame: Any, at: float) -> None:
        """Watch the frame that is shown from `at` seconds on, after the frame before."""
        self._until(at)
        small = Display().blocks(frame, WIDE, HIGH)
        self._black_now = is_black(small)
        if self._black_now:
            self._reference = None
        elif self._reference is None or not is_still(self._reference[1], small):
            self._reference = at, small
        if self.is_dark and (light := sum(small) / len(small)) > self._light:
            self.poster, self._light = frame, light
        self._show(frame, at)

    def moves(self, at: float, frame: Any = None) -> None:
        """The picture moves from `at` on, when `frame` is shown; it is not compared with other frames."""
        self._until(at)
        self._black_now, self._reference = False, None
        if frame is not None:
            self._show(frame, at)

    @property
    def is_dark(self) -> bool:
        """Whether there is no frame for the poster yet but dark ones."""
        return self._light <= DARK

    def wants(self, before: float) -> bool:
        """Whether a frame that is shown before so many seconds is missing for the poster, the strip or the hash."""
        return self.is_dark or (len(self.tiles) < FRAMES and self._targets[len(self.tiles)] < before)

    def nothing(self, at: float) -> None:
        """No frame is shown from `at` on; that counts as black."""
        self._until(at)
        self._black_now, self._reference = True, None

    def end(self, at: float) -> None:
        """End the picture; the last frame is shown until `at`."""
        self._until(at)
        while self._last is not None and len(self.tiles) < FRAMES and at >= self._targets[len(self.tiles)]:
            self._keep(self._last)

    def plain(self) -> dict[str, Any]:
        """What was seen."""
        return {
            "seconds": round(self.looked, 3),
            "black": self._black.plain(),
            "frozen": self._still.plain(),
            "look": self._hash(),
        }

    def _hash(self) -> str | None:
        """The perceptual hash; None with too few frames, or without shapes."""
        if len(self._marks) < FRAMES or not any(any(shape) for shape, _ in self._marks):
            return None
        return "".join((shape + colour).hex() for shape, colour in self._marks)

    def _until(self, at: float) -> None:
        """Report that the frame before, or none, was shown until now."""
        if at > self.looked:
            self._black.see(self.looked, at, holds=self._black_now)
            if self._reference is not None:
                self._still.span(self._reference[0], at)
        self.looked = max(self.looked, at)

    def _show(self, frame: Any, at: float) -> None:
        self._last = frame
        while len(self.tiles) < FRAMES and at >= self._targets[len(self.tiles)]:
            self._keep(frame)

    def _keep(self, frame: Any) -> None:
        self.tiles.append(self.display.scaled(frame, self._tile_width))
        self._marks.append((shape_of(frame, self.display), colour_of(frame, self.display)))


class Sound:
    """Listens to frames of 16-bit samples in their order, one plane for each channel.

    Attributes:
        until: Seconds of the clip that were heard. Time that no frame covers is silent.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self._silent = Longest()

    def hear(self, frame: Any, at: float) -> None:
        """Listen to the samples that play from `at` seconds on."""
        heard = False
        for plane in frame.planes:
            samples = array("h", bytes(plane)[: 2 * frame.samples])
            # a few samples are enough for most sounds
            heard = heard or _is_heard(samples[::SAMPLED]) or _is_heard(samples)
        self.play(at, at + frame.samples / frame.sample_rate, audible=heard)

    def play(self, at: float, until: float, *, audible: bool) -> None:
        """Report that something plays from `at` to `until`."""
        self.end(at)
        self._silent.see(at, until, holds=not audible)
        self.until = max(self.until, until)

    def end(self, at: float) -> None:
        """End the sound at `at`."""
        if at > self.until:
            self._silent.see(self.until, at, holds=True)
            self.until = at

    def plain(self) -> list[float] | None:
        """The longest silence."""
        return self._silent.plain()


def _is_heard(samples: "array[int]") -> bool:
    return max(samples, default=0) > SILENT_LEVEL or min(samples, default=0) < -SILENT_LEVEL


def is_loud(frame: Any) -> bool:
    """Whether a few samples of a decoded frame show that it is heard: resampling each frame took a third of an inspection.

    Only planes of floats are examined, as most decoders of sound make them.
    """
    return frame.format.name == "fltp" and any(
        # a margin for the rounding to 16 bits; a sample that is no number is compared as false
        max(memoryview(plane).cast("f")[: frame.samples : SAMPLED], default=0.0) > 1.1 * SILENT_LEVEL / 0x8000
        for plane in frame.planes
    )


def is_black(small: bytes) -> bool:
    """Whether a frame is black."""
    return max(small) <= LIT_LEVEL and sum(v <= BLACK_LEVEL for v in small) >= BLACK_SHARE * len(small)


def is_still(one: bytes, other: bytes, level: int = STILL_LEVEL) -> bool:
    """Whether no block of two frames differs by more than `level`."""
    # most pictures that move differ in a few of their blocks
    return one == other or (
        _distance(one[::SAMPLED], other[::SAMPLED]) <= level and _distance(one, other) <= level
    )


def _distance(one: bytes, other: bytes) -> int:
    farthest: int = max(map(abs, map(sub, one, other)))
    return farthest


def shape_of(frame: Any, display: Display) -> bytes:
    """64 bits: for each of 8 rows, whether each of 9 columns is darker than the next. All zero for a flat picture."""
    small = display.blocks(frame, _HASH_WIDE, _HASH_HIGH)
    if max(small) - min(small) <= _FLAT:
        return bytes(8)
    rows = (small[start : start + _HASH_WIDE] for start in range(0, len(small), _HASH_WIDE))
    return bytes(
        sum((left + 1 < right) << bit for bit, (left, right) in enumerate(pairwise(row))) for row in rows
    )


def colour_of(frame: Any, display: Display) -> bytes:
    """Six bytes: the average red, green and blue of the left and the right half."""
    return display.blocks(frame, 2, 1, "rgb24")
