"""Perceptual hashes: by which clips are found that look the same although their bytes differ.

A look is 168 hex digits, 28 for each of six frames spread evenly over the clip: 16 of its shapes (64 bits: which of 9 by 8
parts are darker than their right neighbour) and 12 of its colours (red, green and blue of the left and the right half).
"""

LOOK_PATTERN = r"^[0-9a-f]{168}$"
COLOUR_LEVELS = 12
"""By how much, of 255, the colours may differ on average."""

_FRAME = 28
_SHAPE = 16


def distance(one: str, other: str) -> float:
    """By how many of 64 bits the shapes of two looks differ, on average over the frames."""
    frames = range(0, len(one), _FRAME)
    different = sum(
        (int(one[at : at + _SHAPE], 16) ^ int(other[at : at + _SHAPE], 16)).bit_count() for at in frames
    )
    return different / len(frames)


def colour_distance(one: str, other: str) -> float:
    """By how much, of 255, the colours of two looks differ on average."""
    total = count = 0
    for at in range(0, len(one), _FRAME):
        mine, theirs = (bytes.fromhex(look[at + _SHAPE : at + _FRAME]) for look in (one, other))
        total += sum(abs(a - b) for a, b in zip(mine, theirs, strict=True))
        count += len(mine)
    return total / count


def same(one: str, other: str, *, bits: float) -> bool:
    """Whether two clips look the same: their shapes differ by no more than `bits` of 64, and their colours hardly."""
    return distance(one, other) <= bits and colour_distance(one, other) <= COLOUR_LEVELS
