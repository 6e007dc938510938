"""The size of uploaded files, measured by a decoder and not by the product's code."""

import base64
import binascii
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Measured:
    """The size of a picture or a film."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    seconds: float
    """Duration; 0 for a picture."""


def measure(source: Path | bytes) -> Measured | None:
    """Measure a picture or a film; None for any other file."""
    import av

    opened: str | IO[bytes] = str(source) if isinstance(source, Path) else BytesIO(source)
    try:
        with av.open(opened, "r") as container:
            if not container.streams.video:
                return None
            stream = container.streams.video[0]
            still = (container.format.name or "").endswith("_pipe")
            seconds = 0.0 if still or container.duration is None else container.duration / av.time_base
            return Measured(stream.width, stream.height, seconds) if stream.width else None
    except (av.FFmpegError, OSError, ValueError):
        return None


def from_data_url(text: str) -> bytes | None:
    """The bytes of a base64 data URL; None for any other text."""
    head, comma, encoded = text.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def scaled(measured: Measured, lines: int) -> tuple[int, int]:
    """The frame of a video made from a picture: the picture's ratio, `lines` pixels on the shorter side, even numbers."""
    factor = lines / min(measured.width, measured.height)
    return tuple(max(round(side * factor / 2) * 2, 2) for side in (measured.width, measured.height))  # type: ignore[return-value]
