"""The first frame of a video as a PNG picture, with the colours that a player shows. Only the guarded worker loads it."""

from fractions import Fraction
from typing import Any

from resources.video.display import Display
from resources.video.tracks import UnreadableError

MOST_PIXELS = 1920 * 1080
"""A larger frame is made smaller: providers take no image of more than a few megabytes."""
HD_LINES = 720
"""A file that does not name its colours has those of HD (BT.709) from so many lines on, and else BT.601, as in players."""
_MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
"""PyAV's name of each matrix that a file can name (ISO/IEC 23091-2)."""
_BYTES = 3
"""Bytes of a pixel."""


def first_frame_of(container: Any, picture: Any, origin: float) -> Any:
    """The first frame that is shown.

    Args:
        container: An open input container, at its beginning.
        picture: The stream that is shown.
        origin: Seconds on the stream's clock at which the clip begins; earlier frames are not shown.

    Raises:
        UnreadableError: There is none.
    """
    for frame in container.decode(picture):
        if frame.time is None or frame.time - origin > -0.001:
            return frame
    raise UnreadableError("there is no frame in it")


def png(frame: Any, aspect: Any) -> bytes:
    """A frame as it is shown: in square pixels, and turned as the file asks for.

    Args:
        aspect: Width of a stored pixel divided by its height, a fraction or None.
    """
    from av import CodecContext, VideoFrame

    display = Display.of(aspect, frame.rotation)
    width, height = max(1, round(frame.width * display.aspect)), frame.height
    shrunk = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    width, height = max(1, int(width * shrunk)), max(1, int(height * shrunk))
    matrix = _MATRICES.get(int(frame.colorspace)) or ("ITU709" if frame.height >= HD_LINES else "ITU601")
    flat = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=frame.color_range,
        threads=1,
    )
    plane = flat.planes[0]
    data, row = bytes(plane), width * _BYTES
    pixels = b"".join(data[at : at + row] for at in range(0, height * plane.line_size, plane.line_size))
    for _ in range(display.quarters):
        pixels, width, height = _turned(pixels, width, height), height, width
    whole = VideoFrame(width, height, "rgb24")
    gap = b"\0" * (whole.planes[0].line_size - width * _BYTES)
    row = width * _BYTES
    whole.planes[0].update(b"".join(pixels[at : at + row] + gap for at in range(0, len(pixels), row)))
    encoder: Any = CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, 1)
    whole.pts, whole.time_base = 0, Fraction(1, 1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(whole), *encoder.encode(None)])


def _turned(pixels: bytes, width: int, height: int) -> bytes:
    """The picture after a quarter turn clockwise: each column, from below, becomes a row."""
    turned = bytearray(len(pixels))
    row = height * _BYTES
    for column in range(width):
        for channel in range(_BYTES):
            at = column * _BYTES + channel
            turned[column * row + channel : (column + 1) * row : _BYTES] = pixels[at :: width * _BYTES][::-1]
    return bytes(turned)
