"""The type of a file by its first bytes, not by its name. Nothing is decoded."""

import struct
from dataclasses import dataclass

HEAD_BYTES = 256 * 1024
"""Bytes of a file that are read; a JPEG with more bytes before its picture is not recognized."""
MAX_SIDE = 16_384
"""Pixels; nobody sends a larger picture to a video model."""


@dataclass(frozen=True)
class Sniffed:
    """A type of file."""

    media: str
    """`image`, `video` or `audio`."""
    content_type: str
    """e.g. `image/png`."""
    extension: str
    """The usual extension, with its dot."""
    width: int | None = None
    """Pixels; None if it is not an image."""
    height: int | None = None
    """Pixels; None if it is not an image."""


def sniff(head: bytes) -> Sniffed | None:
    """The type of a file by its first bytes; None for a type that no provider takes.

    Images are PNG, JPEG and WebP, which OpenAI's and ByteDance's models take; videos are MP4 and QuickTime; sounds are WAV
    and MP3.
    """
    size = _png(head) or _jpeg(head) or _webp(head)
    if size is not None:
        kind, width, height = size
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            return None
        return Sniffed("image", f"image/{kind}", ".jpg" if kind == "jpeg" else f".{kind}", width, height)
    if head[4:8] == b"ftyp" and len(head) >= 12:
        quick = head[8:12] == b"qt  "
        return Sniffed("video", "video/quicktime" if quick else "video/mp4", ".mov" if quick else ".mp4")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return Sniffed("audio", "audio/wav", ".wav")
    if head[:3] == b"ID3" or _mp3_frame(head):
        return Sniffed("audio", "audio/mpeg", ".mp3")
    return None


def _png(head: bytes) -> tuple[str, int, int] | None:
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR" or len(head) < 33:
        return None
    return ("png", *struct.unpack(">II", head[16:24]))


def _jpeg(head: bytes) -> tuple[str, int, int] | None:
    """The displayed size, from the first start-of-frame segment; the camera's orientation may turn the picture."""
    if head[:3] != b"\xff\xd8\xff":
        return None
    position, turned = 2, False
    while position + 4 <= len(head):
        if head[position] != 0xFF:
            return None
        marker = head[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(head[position + 2 : position + 4], "big")
        segment = head[position + 4 : position + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            if len(segment) < 5:
                return None
            height, width = struct.unpack(">HH", segment[1:5])
            return ("jpeg", height, width) if turned else ("jpeg", width, height)
        if length < 2 or marker in {0xD8, 0xD9, 0xDA}:
            return None
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            turned = _orientation(segment[6:]) in {5, 6, 7, 8}
        position += 2 + length
    return None


def _orientation(tiff: bytes) -> int:
    """The camera's orientation, 1 if there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack(f"{order}I", tiff[4:8])
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack(f"{order}H", tiff[start : start + 2])
    for index in range(min(count, 100)):
        entry = tiff[start + 2 + 12 * index : start + 14 + 12 * index]
        if len(entry) < 12:
            return 1
        tag, value = struct.unpack(f"{order}H6xH", entry[:10])
        if tag == 0x0112:
            return int(value)
    return 1


def _webp(head: bytes) -> tuple[str, int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(head[24:27], "little")
        return "webp", width, 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return "webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return "webp", width & 0x3FFF, height & 0x3FFF
    return None


def _mp3_frame(head: bytes) -> bool:
    """Whether it begins with the header of an MPEG layer III frame with a possible bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and head[2] >> 4 not in {0, 15} and head[2] >> 2 & 3 != 3
