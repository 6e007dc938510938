"""Which tracks of a file a player shows and plays, and in which codecs they are. Only the guarded worker loads it."""

from typing import Any

MAX_PIXELS = 4096 * 4096
"""Most pixels of a picture."""
MAX_TRACKS = 32

VIDEO_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_KNOWN = VIDEO_CODECS | {"aac", "mp3", "opus", "flac", "ac3", "eac3"}
DECODERS = _KNOWN | {"libdav1d", "libvpx-vp9", "mp3float", "libopus"}
"""FFmpeg's names of the codecs that are decoded; all others are refused."""
_UMBRELLAS = {"mp4a", "mp4v"}
"""Type codes that name no codec."""


class UnreadableError(Exception):
    """The file cannot be read; the message says why."""


def played(container: Any) -> tuple[Any, Any]:
    """The streams that a player shows and plays: by the default flag, then the largest picture, then the first.

    Raises:
        UnreadableError: The file has no picture, or one whose codec or size is refused.
    """
    from av.stream import Disposition

    if len(container.streams) > MAX_TRACKS:
        raise UnreadableError(f"it has more than {MAX_TRACKS} tracks")

    def rank(stream: Any) -> tuple[bool, int]:
        context = stream.codec_context
        pixels = context.width * context.height if context and stream.type == "video" else 0
        return bool(stream.disposition & Disposition.default), pixels

    apart = Disposition.attached_pic | Disposition.timed_thumbnails
    pictures = [one for one in container.streams.video if not one.disposition & apart]
    if not pictures:
        raise UnreadableError("it has no picture")
    picture = max(pictures, key=rank)
    codec, context = codec_of(picture), picture.codec_context
    if codec not in VIDEO_CODECS or context.name not in DECODERS:
        raise UnreadableError(f"its codec {codec!r} is not one of {', '.join(sorted(VIDEO_CODECS))}")
    if not 0 < context.width * context.height <= MAX_PIXELS:
        raise UnreadableError(
            f"its picture is {context.width}x{context.height}, at most {MAX_PIXELS:,} pixels are read"
        )
    return picture, max(container.streams.audio, key=rank, default=None)


def codec_of(stream: Any) -> str:
    """Our name of a codec, else the four letters of the file, else the decoder's name."""
    context = stream.codec_context
    if context is None:
        return "unknown"
    name, letters = str(context.codec.canonical_name), str(context.codec_tag).strip()
    return name if name in _KNOWN or not letters.isalnum() or letters in _UMBRELLAS else letters
