"""Perceptual hashes: clips that look the same have similar hashes, although their bytes differ.

A hash is 168 hex digits, 28 for each of six frames spread evenly over the clip: 16 for shapes (64 bits: which of 9 by 8
parts are darker than their right neighbour) and 12 for colours (red, green and blue of the left and the right half).
"""

LOOK_PATTERN = r"^[0-9a-f]{168}$"
COLOUR_LEVELS = 12
"""Average difference of the colours, of 255, up to which two clips look the same."""

_FRAME = 28
_SHAPE = 16


def distance(one: str, other: str) -> float:
    """The number of different bits, of 64, between the shapes of two hashes, averaged over the frames."""
    frames = range(0, len(one), _FRAME)
    different = sum(
        (int(one[at : at + _SHAPE], 16) ^ int(other[at : at + _SHAPE], 16)).bit_count() for at in frames
    )
    return different / len(frames)


def colour_distance(one: str, other: str) -> float:
    """The average difference, of 255, between the colours of two hashes."""
    total = count = 0
    for at in range(0, len(one), _FRAME):
        mine, theirs = (bytes.fromhex(look[at + _SHAPE : at + _FRAME]) for look in (one, other))
        total += sum(abs(a - b) for a, b in zip(mine, theirs, strict=True))
        count += len(mine)
    return total / count


def same(one: str, other: str, *, bits: float) -> bool:
    """Whether two clips look the same: their shapes differ in at most `bits` of 64, and their colours are similar."""
    return distance(one, other) <= bits and colour_distance(one, other) <= COLOUR_LEVELS
