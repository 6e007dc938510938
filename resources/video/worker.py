"""The guarded process that reads strangers' bytes: `python -m resources.video.worker`.

It has no secrets in its environment, limits its own memory and processor time, gives up all else that the kernel lets it give
up (`resources.video.confinement`), and speaks one JSON object a line. Requests come through the socket that is its standard
input, with the open file they are about: it opens none itself. It says `{"ready": true, "confined": [...]}`, and then answers
each `{"file": true, "poster_width": ..., "cpu_seconds": ...}`, `{"file": true, "measure": true, ...}` for the length of a clip by
its index alone, or `{"posters": [...], "failed": [...], "cpu_seconds": ...}` for a contact sheet.
"""

import base64
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import av.subtitles.stream  # PyAV loads it with the first file, when nothing can be opened any more

from resources.video.boxes import BoxError, Movie, Track, walk
from resources.video.confinement import confine
from resources.video.sheets import compose, size_of
from resources.video.stretches import Picture, Sound

MEMORY_BYTES = 2 << 30
"""Address space of the process."""
MAX_PIXELS = 4096 * 4096
"""Of one picture."""
MAX_FRAMES = 100_000
"""Of one clip: an hour at 24 frames a second is 86,400."""

VIDEO_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_DECODERS = VIDEO_CODECS | {
    "libdav1d",
    "libvpx-vp9",
    "aac",
    "mp3",
    "mp3float",
    "opus",
    "libopus",
    "flac",
    "ac3",
    "eac3",
}
_OPENING = {
    "format_whitelist": "mov",
    "protocol_whitelist": "fd",
    "codec_whitelist": ",".join(sorted(_DECODERS)),
    "enable_drefs": "0",
}
TILE_WIDTH = 240
"""Pixels of each frame of the strip."""


class UnreadableError(Exception):
    """What is wrong with the file, in words."""


def inspect(file: BinaryIO, poster_width: int, look_seconds: float) -> dict[str, Any]:
    """The facts of one file, what is seen and heard in it, a poster and a strip of frames, as plain values.

    Args:
        file: The open file.
        poster_width: Pixels.
        look_seconds: Of a processor, for looking through it; what comes later in the clip is not looked at.

    Raises:
        UnreadableError: It is damaged, or of a kind that is not decoded.
    """
    movie = walk(file)
    picture = movie.first("vide")
    if picture is None:
        raise UnreadableError("it has no picture")
    _check(picture)
    sound = movie.first("soun")
    facts: dict[str, Any] = {
        "width": picture.width,
        "height": picture.height,
        "duration": round(picture.seconds, 3),
        "fps": round(picture.samples / picture.seconds, 3) if picture.seconds else 0,
        "video_codec": picture.codec,
        "audio_codec": sound.codec if sound else None,
        "has_audio": sound is not None and (sound.samples > 0 or movie.fragmented),
        "size_bytes": os.fstat(file.fileno()).st_size,
        "truncated": movie.truncated,
        "faststart": movie.faststart,
        "c2pa": movie.c2pa,
    }
    seen: dict[str, Any] = {}
    try:
        seen = _look(file, movie, facts, poster_width, look_seconds)
    except (av.error.FFmpegError, UnreadableError, ValueError) as error:
        if not movie.truncated:
            raise UnreadableError(f"its picture cannot be decoded ({type(error).__name__})") from None
    if picture.turned:
        facts["width"], facts["height"] = facts["height"], facts["width"]
    return {"video": facts, **seen}


def _check(picture: Track) -> None:
    if picture.codec not in VIDEO_CODECS:
        raise UnreadableError(f"its codec {picture.codec!r} is not one of {', '.join(sorted(VIDEO_CODECS))}")
    if not 0 < picture.width * picture.height <= MAX_PIXELS:
        raise UnreadableError(
            f"its picture is {picture.width}x{picture.height}, at most {MAX_PIXELS:,} pixels are read"
        )
    if picture.samples > MAX_FRAMES:
        raise UnreadableError(f"it has {picture.samples:,} frames, at most {MAX_FRAMES:,} are read")


def _look(
    file: BinaryIO, movie: Movie, facts: dict[str, Any], width: int, look_seconds: float
) -> dict[str, Any]:
    """Decode the clip: the true size of the picture goes into `facts`, what was seen is returned."""
    guard: Any = {"max_pixels": str(MAX_PIXELS), "threads": "1"}
    # the open file is shared with the parent, which may have asked before
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    # what is for all streams is said with the container's: PyAV 19 has no `stream_options`
    opening = {**_OPENING, **guard, "fd": str(file.fileno())}
    with av.open("fd:", format="mov", options=opening) as container:
        streams = [container.streams.video[0], *container.streams.audio[:1]]
        for stream in streams:
            context = stream.codec_context
            if context.name not in _DECODERS:
                raise UnreadableError(context.name)
            context.thread_count, context.options = 1, guard
        # frames that no other frame needs are left out: half the work, and still several looks a second
        streams[0].codec_context.skip_frame = "NONREF"
        if movie.fragmented:
            facts["fps"] = round(float(streams[0].guessed_rate or 0), 3)
            facts["duration"] = round((container.duration or 0) / av.time_base, 3)
        seen, heard = Picture(facts["duration"], TILE_WIDTH), Sound()
        broken, whole = _decode(container, streams, seen, heard, look_seconds)
    if seen.poster is None:
        raise UnreadableError("no frame")
    if whole:
        seen.end(facts["duration"])
    facts["width"], facts["height"] = seen.poster.width, seen.poster.height
    looked = {**seen.plain(), "silent": heard.plain() if len(streams) > 1 else None, "broken": broken}
    strip = beside(seen.tiles) if seen.tiles else None
    return {
        "looked": looked,
        "poster": _text(_webp(seen.poster, width)),
        "strip": None if strip is None else _text(_webp(strip, strip.width)),
    }


def _decode(
    container: Any, streams: list[Any], seen: Picture, heard: Sound, look_seconds: float
) -> tuple[str | None, bool]:
    """Show every frame to who looks and listens; returns what went wrong, and whether the end was reached."""
    resampler = av.AudioResampler(format="s16p")
    give_up = time.process_time() + look_seconds
    started: float | None = None
    try:
        for frame in container.decode(*streams):
            at = frame.time if frame.time is not None else seen.looked
            if isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    heard.hear(piece, at)
            else:
                started = at if started is None else started
                seen.see(frame, at - started)
            if time.process_time() > give_up:
                return None, False
    except av.error.FFmpegError as error:
        return f"decoding it stops after {seen.looked:.2f} s ({type(error).__name__})", False
    return None, True


def beside(tiles: list[Any]) -> Any:
    """One picture of several of the same size, from left to right."""
    made = av.VideoFrame(sum(tile.width for tile in tiles), tiles[0].height, "yuv420p")
    for number, plane in enumerate(made.planes):
        rows = bytearray(plane.buffer_size)
        left = 0
        for tile in tiles:
            from_ = tile.planes[number]
            data = bytes(from_)
            for row in range(min(plane.height, from_.height)):
                start = row * plane.line_size + left
                rows[start : start + from_.width] = data[
                    row * from_.line_size : row * from_.line_size + from_.width
                ]
            left += from_.width
        plane.update(bytes(rows))
    return made


def _composed(request: dict[str, Any]) -> dict[str, Any]:
    """The contact sheet of some posters."""
    posters = [_decoded(base64.b64decode(text)) for text in request["posters"]]
    _, width, height = size_of(len(posters))
    sheet = compose(av.VideoFrame(width, height, "yuv420p"), posters, request["failed"])
    return {"sheet": _text(_webp(sheet, width))}


def _decoded(data: bytes) -> Any:
    """A WebP picture, None where it is not one."""
    decoder: Any = av.CodecContext.create("webp", "r")
    decoder.options = {"max_pixels": str(MAX_PIXELS), "threads": "1"}
    try:
        return next(iter(decoder.decode(av.Packet(data))), None)
    except (av.error.FFmpegError, ValueError):
        return None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _webp(frame: Any, width: int) -> bytes:
    width = max(2, min(width, frame.width) // 2 * 2)
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    small = frame.reformat(width=width, height=height, format="yuv420p")
    encoder: Any = av.CodecContext.create("libwebp", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 1)
    encoder.options = {"compression_level": "2", "quality": "75"}
    small.pts, small.time_base = 0, Fraction(1, 1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])


def measure(file: BinaryIO) -> dict[str, Any]:
    """How many seconds a clip says it lasts; nothing is decoded.

    Raises:
        UnreadableError: It has no picture.
    """
    movie = walk(file)
    picture = movie.first("vide")
    if picture is None:
        raise UnreadableError("it has no picture")
    if not picture.samples and not movie.fragmented:
        raise UnreadableError("it lists no frames")
    return {"seconds": picture.seconds}


def answer(request: dict[str, Any], file: BinaryIO | None = None) -> dict[str, Any]:
    """The answer to one request; whatever the file does, it is an answer."""
    _limit_processor(request["cpu_seconds"])
    source: Any = file
    try:
        if "posters" in request:
            return _composed(request)
        if "measure" in request:
            found = measure(source)
        else:
            found = inspect(source, request["poster_width"], request["cpu_seconds"] / 2)
    except (BoxError, UnreadableError) as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": f"reading it needs more than {MEMORY_BYTES >> 20:,} MB of memory"}
    except OSError as error:
        found = {"error": f"it cannot be read: {error.strerror}"}
    except Exception as error:  # noqa: BLE001  # a stranger's file may make anything of ours or PyAV's raise
        found = {"error": f"reading it fails with {type(error).__name__}"}
    return found | {"memory_bytes": _memory()}


def _memory() -> int:
    """Bytes in use. Not ru_maxrss: that begins with what the parent used when it forked."""
    try:
        pages = int(os.pread(_STATM, 100, 0).split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _opened(path: str) -> int:
    """A file that is read again and again, opened while files can be; -1 where there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


_STATM = _opened("/proc/self/statm")


def _limit_processor(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
    )


def _guard() -> None:
    """Give up what is not needed; there is no way back."""
    if sys.platform != "darwin":  # which refuses this limit
        _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 1 << 20)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 64)


def _limit(what: int, value: int) -> None:
    _, most = resource.getrlimit(what)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(what, (value, value))


def _own_output() -> BinaryIO:
    """Standard output for answers alone: what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _requests(asked: socket.socket) -> Iterator[tuple[dict[str, Any], BinaryIO | None]]:
    """Every request until the parent closes the socket, with the file it is about."""
    waiting, files = bytearray(), []
    while True:
        data, more, _, _ = socket.recv_fds(asked, 1 << 16, 4)
        files += more
        waiting += data
        if not data:
            return
        if not data.endswith(b"\n"):
            continue
        for line in waiting.splitlines():
            request = json.loads(line)
            yield request, os.fdopen(files.pop(0), "rb") if request.get("file") else None
        waiting.clear()


def main() -> None:
    """Answer requests until the parent closes the socket."""
    _guard()
    answers = _own_output()
    asked = socket.socket(fileno=0)
    answers.write(json.dumps({"ready": True, "confined": confine()}).encode() + b"\n")
    answers.flush()
    for request, file in _requests(asked):
        try:
            found = answer(request, file)
        finally:
            if file is not None:
                file.close()
        answers.write(json.dumps(found).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
