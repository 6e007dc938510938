"""How a player shows a picture: with the aspect ratio of its pixels and the rotation of the file.

It works on PyAV's frames. Only the guarded worker calls what imports PyAV.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MOST_STRETCHED = 20
"""Pixels with a larger ratio of the sides are taken for square."""


@dataclass(frozen=True)
class Display:
    """How a player shows the decoded frames of a track."""

    aspect: float = 1.0
    """Width of a pixel divided by its height."""
    quarters: int = 0
    """Quarter turns clockwise, 0 to 3."""

    @classmethod
    def of(cls, aspect: Any, rotation: float) -> "Display":
        """From the demuxer's values: a fraction or None, and degrees counter-clockwise."""
        known = float(aspect) if aspect else 1.0
        if not 1 / MOST_STRETCHED <= known <= MOST_STRETCHED:
            known = 1.0
        return cls(known, round(-rotation / 90) % 4)

    def size(self, frame: Any) -> tuple[int, int]:
        """Width and height in square pixels, as shown."""
        width, height = max(1, round(frame.width * self.aspect)), frame.height
        return (height, width) if self.quarters % 2 else (width, height)

    def scaled(self, frame: Any, width: int) -> Any:
        """The frame as shown, no wider than `width` pixels and not enlarged, in yuv420p."""
        shown_width, shown_height = self.size(frame)
        width = max(2, min(width, shown_width) // 2 * 2)
        height = max(2, round(shown_height * width / shown_width / 2) * 2)
        if not self.quarters:
            return _scaled(frame, width, height, "yuv420p")
        across, down = (height, width) if self.quarters % 2 else (width, height)
        small = _scaled(frame, across, down, "yuv420p")
        turned = type(frame)(width, height, "yuv420p")
        for plane, source in zip(turned.planes, small.planes, strict=True):
            rows = self._turned(_rows(source, source.width, source.height))
            plane.update(b"".join(bytes(row).ljust(plane.line_size, b"\0") for row in rows))
        return turned

    def blocks(self, frame: Any, width: int, height: int, format: str = "gray") -> bytes:  # noqa: A002 - PyAV's name
        """The first plane of the displayed frame, scaled down; each pixel is the average of its area."""
        across, down = (height, width) if self.quarters % 2 else (width, height)
        small = _scaled(frame, across, down, format, "AREA")
        each = 3 if format == "rgb24" else 1
        rows = _rows(small.planes[0], across * each, down)
        if not self.quarters:
            return b"".join(rows)
        pixels = [[row[at : at + each] for at in range(0, len(row), each)] for row in rows]
        return b"".join(b"".join(row) for row in self._turned(pixels))

    def _turned(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        for _ in range(self.quarters):
            rows = list(zip(*rows[::-1], strict=True))
        return rows


def _scaled(frame: Any, width: int, height: int, format: str, how: str = "BILINEAR") -> Any:  # noqa: A002 - PyAV's name
    kept = _scaler(width, height, format)
    return kept.reformat(frame, width=width, height=height, format=format, interpolation=how, threads=1)


@lru_cache(maxsize=16)
def _scaler(_width: int, _height: int, _format: str) -> Any:
    """A scaler is kept, because preparing one for each frame costs four times as much as scaling to 64 by 36 pixels."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _rows(plane: Any, width: int, height: int) -> list[bytes]:
    data, line = bytes(plane), plane.line_size
    return [data[row * line : row * line + width] for row in range(height)]
