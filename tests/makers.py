"""Real MP4s for tests, made with PyAV: a moving picture, a tone, and the faults that files can have."""

from array import array
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache
from math import sin, tau
from pathlib import Path
from typing import Any

C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_made: dict[str, bytes] = {}


def make_mp4(
    path: Path,
    *,
    width: int = 320,
    height: int = 180,
    seconds: float = 2,
    fps: int = 24,
    codec: str = "libx264",
    audio: str | None = "aac",
    faststart: bool = True,
    black_seconds: float = 0,
    silent: bool = False,
    bars: int = 4,
    gop: int = 24,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    paint: Callable[[int, int], int] | None = None,
    aspect: str | None = None,
) -> Path:
    """Make a clip of moving brightness with upright bars and a tone; its first `black_seconds` are black.

    A process encodes each kind of clip once.
    """
    kind = repr({name: value for name, value in locals().items() if name not in {"path", "paint"}})
    if paint is None and kind in _made:
        path.write_bytes(_made[kind])
        return path
    import av

    flags = dict(container_options or {})
    if faststart and "movflags" not in flags:
        flags["movflags"] = "+faststart"
    with av.open(str(path), "w", format="mp4", options=flags) as out:
        video: Any = out.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"preset": "ultrafast", "g": str(gop), "threads": "1", **(options or {})}
        if aspect:
            video.codec_context.sample_aspect_ratio = Fraction(aspect)
        sound: Any = None
        if audio:
            sound = out.add_stream(audio, rate=48_000)
            sound.layout = "mono"
        for number in range(round(seconds * fps)):
            black = number < black_seconds * fps
            frame = _frame(width, height, 16 if black else (paint or _moving)(number, height), bars)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            _sound(out, sound, seconds, 0.0 if silent else 0.2)
    if paint is None:
        _made[kind] = path.read_bytes()
    return path


def _moving(number: int, height: int) -> int:
    return 60 + number * 3 % 150


def _frame(width: int, height: int, luma: int, bars: int) -> Any:
    """A picture that grows brighter downwards, with upright bars; black where `luma` says so."""
    import av

    frame = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(frame.planes):
        if index:
            plane.update(bytes([128]) * plane.buffer_size)
        else:
            plane.update(_brightness(width, plane.height, plane.line_size, luma, bars))
    return frame


@lru_cache(maxsize=64)
def _brightness(width: int, height: int, line_size: int, luma: int, bars: int) -> bytes:
    rows = bytearray()
    for row in range(height):
        value = min(200, luma if luma <= 16 else luma + row * 60 // height)
        line = bytearray([value]) * line_size
        if luma > 16:
            for start in range(0, width, 2 * width // bars):
                end = min(start + width // bars, width)
                line[start:end] = bytes([value + 35]) * (end - start)
        rows += line
    return bytes(rows)


def _sound(out: Any, stream: Any, seconds: float, loudness: float) -> None:
    import av

    size = stream.codec_context.frame_size or 1024
    position = 0
    while position < seconds * 48_000:
        count = min(size, round(seconds * 48_000) - position)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=count)
        start = position % 48_000 * 4
        tone = _two_seconds_of_tone(loudness)[start : start + count * 4]
        frame.planes[0].update(tone.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = 48_000, position, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
        position += count
    out.mux(stream.encode(None))


@cache
def _two_seconds_of_tone(loudness: float) -> bytes:
    return array("f", (loudness * sin(n * tau * 330 / 48_000) for n in range(48_000))).tobytes() * 2


def mux(
    path: Path,
    *tracks: tuple[Path, str, float, Callable[[float], bool] | None],
    movflags: str = "+faststart",
    rotation: int = 0,
    default: int | None = None,
) -> Path:
    """Combine tracks of other files into one file without encoding.

    Args:
        path: The new file.
        tracks: For each track: its file, `video` or `audio`, by how many seconds it is moved, and which packets are kept, by their
            seconds (None keeps all). The muxer writes an edit list for a moved track.
        movflags: Flags of FFmpeg's muxer.
        rotation: Rotation of the shown picture in degrees, counter-clockwise.
        default: Number of the only track with the default flag.
    """
    import av

    packets: list[tuple[float, int, Any]] = []
    with av.open(str(path), "w", format="mp4", options={"movflags": movflags}) as out:
        for number, (source, kind, shift, keep) in enumerate(tracks):
            container = av.open(str(source))
            stream = next(one for one in container.streams if one.type == kind)
            made: Any = out.add_stream_from_template(stream)  # type: ignore[arg-type]
            if rotation and kind == "video":
                made.set_display_rotation(rotation)
            if default is not None:
                made.disposition = av.stream.Disposition(int(number == default))
            for packet in container.demux(stream):
                if packet.pts is None or packet.dts is None:
                    continue
                if keep is not None and not keep(float(packet.pts * packet.time_base)):
                    continue
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                packet.stream = made
                packets.append((float(packet.dts * packet.time_base), len(packets), packet))
        for _, _, packet in sorted(packets, key=lambda one: one[:2]):
            out.mux(packet)
    return path


Edit = tuple[float, float | None, float]
"""Its duration in seconds, its start in the media (None for an empty edit), and its speed."""


def with_edits(path: Path, **edits: list[Edit]) -> Path:
    """Write a copy with other edit lists, by the kind of track (`vide`, `soun`); the file's index comes last."""
    import struct

    def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
        found, at = [], 0
        while at + 8 <= len(data):
            length, name = struct.unpack_from(">I4s", data, at)
            found.append((name, data[at + 8 : at + length]))
            at += length
        return found

    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), name) + body

    def track(body: bytes, movie_scale: int) -> bytes:
        media = dict(boxes(dict(boxes(body))[b"mdia"]))
        listed = edits[media[b"hdlr"][8:12].decode()]
        scale = struct.unpack_from(">I", media[b"mdhd"], 12)[0]
        rows = b"".join(
            struct.pack(
                ">IihH",
                round(seconds * movie_scale),
                -1 if at is None else round(at * scale),
                int(speed),
                round(speed % 1 * 65536),
            )
            for seconds, at, speed in listed
        )
        edited = box(b"edts", box(b"elst", struct.pack(">II", 0, len(listed)) + rows))
        kept = [(name, inner) for name, inner in boxes(body) if name != b"edts"]
        return b"".join((edited if name == b"mdia" else b"") + box(name, inner) for name, inner in kept)

    top = boxes(path.read_bytes())
    movie = boxes(top[-1][1])
    movie_scale = struct.unpack_from(">I", dict(movie)[b"mvhd"], 12)[0]
    made = [box(name, track(body, movie_scale) if name == b"trak" else body) for name, body in movie]
    path.write_bytes(b"".join(box(name, body) for name, body in top[:-1]) + box(b"moov", b"".join(made)))
    return path


def with_c2pa(path: Path) -> Path:
    """Write a copy with a C2PA box at its end, as signing tools add one."""
    body = C2PA + b"\0\0\0\0manifest\0" + bytes(64)
    with path.open("ab") as file:
        file.write((8 + len(body)).to_bytes(4, "big") + b"uuid" + body)
    return path
