"""Contact sheets: many posters in one picture, composed from raw planes in the guarded worker.

It works on PyAV's frames and does not import PyAV.
"""

import math
from typing import Any

TILE_WIDTH, TILE_HEIGHT = 240, 136
"""Pixels of each field; a poster of another shape is centred."""
MARGIN = 6
MOST = 100
"""Most posters on one sheet."""

Colour = tuple[int, int, int]
"""Brightness and the two colour differences."""
GROUND: Colour = (24, 128, 128)
RED: Colour = (76, 100, 220)


def size_of(count: int) -> tuple[int, int, int]:
    """Columns, width and height in pixels of a sheet for `count` posters, about as wide as a screen."""
    columns = max(1, min(count, round(math.sqrt(count * 16 / 9 * TILE_HEIGHT / TILE_WIDTH)) + 1))
    rows = math.ceil(count / columns)
    return columns, columns * (TILE_WIDTH + 2 * MARGIN), rows * (TILE_HEIGHT + 2 * MARGIN)


def compose(sheet: Any, posters: list[Any], failed: list[bool]) -> Any:
    """Fill a frame with posters, those of failed clips framed in red.

    Args:
        sheet: An empty frame in yuv420p of the size from `size_of`.
        posters: Decoded pictures, None for a damaged one.
        failed: Whether the clip of each failed a check.
    """
    columns, _, _ = size_of(len(posters))
    small = [None if poster is None else _fitted(poster) for poster in posters]
    for number, plane in enumerate(sheet.planes):
        by = 1 if number == 0 else 2
        rows = [bytearray([GROUND[number]]) * plane.line_size for _ in range(plane.height)]
        for index, (picture, bad) in enumerate(zip(small, failed, strict=True)):
            left = index % columns * (TILE_WIDTH + 2 * MARGIN) // by
            top = index // columns * (TILE_HEIGHT + 2 * MARGIN) // by
            width, height = (TILE_WIDTH + 2 * MARGIN) // by, (TILE_HEIGHT + 2 * MARGIN) // by
            if bad:
                for row in rows[top : top + height]:
                    row[left : left + width] = bytes([RED[number]]) * width
            if picture is not None:
                _place(rows, picture.planes[number], left, top, width, height)
        plane.update(b"".join(map(bytes, rows)))
    return sheet


def _fitted(poster: Any) -> Any:
    scale = min(TILE_WIDTH / poster.width, TILE_HEIGHT / poster.height)
    width, height = (max(2, int(side * scale) // 2 * 2) for side in (poster.width, poster.height))
    return poster.reformat(width=width, height=height, format="yuv420p")


def _place(rows: list[bytearray], plane: Any, left: int, top: int, width: int, height: int) -> None:
    """Copy a plane into the centre of its field."""
    data, line = bytes(plane), plane.line_size
    left += (width - plane.width) // 2
    top += (height - plane.height) // 2
    for number in range(plane.height):
        start = number * line
        rows[top + number][left : left + plane.width] = data[start : start + plane.width]
