"""Real pictures and films for tests, small and quick to make."""

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any


def png(width: int, height: int, *, shade: int = 90) -> bytes:
    """Write a grey PNG by hand: a file from an encoder that shares code with the reader would prove nothing about the reader."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = (b"\x00" + bytes([shade]) * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def encoded(codec: str, width: int, height: int, *, pixels: str) -> bytes:
    """One picture from one of FFmpeg's encoders, e.g. `mjpeg` or `libwebp`."""
    import av

    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = width, height, pixels
    context.time_base = Fraction(1)
    frame = av.VideoFrame(width, height, pixels)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def jpeg(width: int, height: int) -> bytes:
    return encoded("mjpeg", width, height, pixels="yuvj420p")


def webp(width: int, height: int) -> bytes:
    return encoded("libwebp", width, height, pixels="yuv420p")


def mp4(width: int = 320, height: int = 180, *, seconds: float = 3.0) -> bytes:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        for number in range(round(8 * seconds)):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([40 + number]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
