"""The guarded process that reads strangers' bytes: `python -m resources.video.worker`.

It has no secrets in its environment, limits its own memory and processor time, gives up every right that it does not need
(`resources.video.confinement`), and speaks one JSON object per line. Requests come through the socket that is its standard
input, with their open file: the worker opens none itself. It says `{"ready": true, "confined": [...]}`, and then answers
each `{"file": true, "poster_width": ..., "shortest_seconds": ..., "cpu_seconds": ...}`, `{"file": true, "measure": true, ...}` for the duration of
its picture, or `{"posters": [...], "failed": [...], "cpu_seconds": ...}` for a contact sheet.
"""

import base64
import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import av.subtitles.stream  # PyAV loads it with the first file, when nothing can be opened any more

from resources.video.boxes import BoxError, Movie, walk
from resources.video.confinement import confine
from resources.video.key_frames import Parts, are_close, can_be_left_out, parts_of
from resources.video.sheets import compose, size_of
from resources.video.timeline import Timeline, TimelineError, edits_of, read
from resources.video.tracks import DECODERS, MAX_PIXELS, UnreadableError, codec_of, played
from resources.video.viewer import Viewer

MEMORY_BYTES = 2 << 30
"""Address space of the process, in bytes."""
MAX_FRAMES = 100_000
"""Most frames of one clip: an hour at 24 frames per second has 86,400."""
_GUARD: Any = {"max_pixels": str(MAX_PIXELS), "threads": "1"}
_OPENING = {
    "format_whitelist": "mov",
    "protocol_whitelist": "fd",
    "codec_whitelist": ",".join(sorted(DECODERS)),
    "enable_drefs": "0",
}


def inspect(
    file: BinaryIO, poster_width: int, shortest_seconds: float, look_seconds: float
) -> dict[str, Any]:
    """The facts of one file, its stretches, a poster and a strip of frames, as plain values.

    Args:
        poster_width: Pixels.
        shortest_seconds: The shortest black or still stretch that counts; 0 to see all.
        look_seconds: Processor limit for watching; the rest of the clip is not watched.

    Raises:
        UnreadableError: The file is damaged, or its codec is not decoded.
    """
    movie = walk(file)
    with _opened_movie(file) as container:
        picture, sound = played(container)
        line = _timeline(file, movie, container, picture, sound)
        facts = _facts(file, movie, picture, sound, line)
    seen: dict[str, Any] = {}
    parts = _parts(file, movie, line, shortest_seconds)
    try:
        with _opened_movie(file) as container:
            seen = _look(container, movie, line, facts, parts, poster_width, look_seconds)
    except (av.error.FFmpegError, UnreadableError, ValueError) as error:
        if not facts["truncated"]:
            why = error if isinstance(error, UnreadableError) else type(error).__name__
            raise UnreadableError(f"its picture cannot be decoded: {why}") from None
    return {"video": facts, **seen}


def _opened_movie(file: BinaryIO) -> Any:
    # the parent shares the open file and may have read it
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # options of all streams are passed with the container's, because PyAV 19 has no `stream_options`
        return av.open("fd:", format="mov", options={**_OPENING, **_GUARD, "fd": str(file.fileno())})
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableError(f"its index contradicts itself ({type(error).__name__})") from None


def _timeline(file: BinaryIO, movie: Movie, container: Any, picture: Any, sound: Any) -> Timeline:
    """What plays when.

    Raises:
        UnreadableError: The file has no frame, or too many.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        line = read(container, picture, sound, size_bytes=size, movie=movie)
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableError(f"its frames cannot be read ({type(error).__name__})") from None
    if line.picture.packets > MAX_FRAMES:
        raise UnreadableError(f"it has {line.picture.packets:,} frames, at most {MAX_FRAMES:,} are read")
    return line


def _facts(file: BinaryIO, movie: Movie, picture: Any, sound: Any, line: Timeline) -> dict[str, Any]:
    """The facts that the file states; the displayed size is added after a frame is decoded."""
    shown = line.picture
    # the first duration of a fragment is often wrong
    fps = float(picture.guessed_rate or 0) if movie.fragmented else 0.0
    fps = fps or shown.rate
    return {
        "width": picture.codec_context.width,
        "height": picture.codec_context.height,
        "duration": round(line.duration, 3),
        "fps": round(fps, 3),
        "video_codec": codec_of(picture),
        "audio_codec": None if sound is None else codec_of(sound),
        "has_audio": line.sound is not None,
        "size_bytes": os.fstat(file.fileno()).st_size,
        "truncated": movie.truncated or line.missing,
        "faststart": movie.faststart,
        "c2pa": movie.c2pa,
        "trailing_bytes": movie.trailing_bytes,
        "speeds": any(edits_of(movie, stream).at_other_speeds for stream in (picture, sound)),
        "picture": shown.plain(),
        "sound": None if line.sound is None else line.sound.plain(),
    }


def _parts(file: BinaryIO, movie: Movie, line: Timeline, shortest_seconds: float) -> Parts | None:
    """The parts of the clip by its key frames; None if all of it must be decoded."""
    if not are_close(line, shortest_seconds):
        return None
    with contextlib.suppress(av.error.FFmpegError, ValueError), _opened_movie(file) as container:
        picture, _ = played(container)
        if can_be_left_out(movie, picture):
            return parts_of(container, picture, line)
    return None


def _look(
    container: Any,
    movie: Movie,
    line: Timeline,
    facts: dict[str, Any],
    parts: Parts | None,
    width: int,
    look_seconds: float,
) -> dict[str, Any]:
    """Decode the clip; returns its stretches, and adds the displayed size to `facts`."""
    picture, sound = played(container)
    for stream in filter(None, (picture, sound)):
        if stream.codec_context is not None:
            stream.codec_context.thread_count, stream.codec_context.options = 1, _GUARD
    # frames that no other frame refers to are skipped: half the work, and still several frames per second
    picture.codec_context.skip_frame = "NONREF"
    viewer = Viewer(picture, sound, movie, line, parts)
    broken = viewer.watch(container, look_seconds)
    seen, display = viewer.seen, viewer.seen.display
    if seen.poster is None:
        raise UnreadableError(broken or "there is no frame in it")
    facts["width"], facts["height"] = display.size(seen.poster)
    facts["pixel_aspect"], facts["rotation"] = round(display.aspect, 6), 90 * display.quarters
    # the last packet of sound may contain more samples than are played
    silent = [min(at, facts["duration"]) for at in (line.sound and viewer.heard.plain()) or []] or None
    strip = beside(seen.tiles) if seen.tiles else None
    return {
        "looked": {**seen.plain(), "silent": silent, "broken": broken},
        "poster": _text(_webp(display.scaled(seen.poster, width))),
        "strip": None if strip is None else _text(_webp(strip)),
    }


def beside(tiles: list[Any]) -> Any:
    """Several pictures of the same size side by side in one."""
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
    return {"sheet": _text(_webp(sheet))}


def _decoded(data: bytes) -> Any:
    """The decoded picture, None if it is no WebP."""
    decoder: Any = av.CodecContext.create("webp", "r")
    decoder.options = {"max_pixels": str(MAX_PIXELS), "threads": "1"}
    try:
        return next(iter(decoder.decode(av.Packet(data))), None)
    except (av.error.FFmpegError, ValueError):
        return None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _webp(frame: Any) -> bytes:
    small, width, height = frame, frame.width, frame.height
    encoder: Any = av.CodecContext.create("libwebp", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 1)
    encoder.options = {"compression_level": "2", "quality": "75"}
    small.pts, small.time_base = 0, Fraction(1, 1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])


def measure(file: BinaryIO) -> dict[str, Any]:
    """The duration of a clip's picture in seconds; nothing is decoded.

    Raises:
        UnreadableError: The file has no picture or no frame.
    """
    movie = walk(file)
    with _opened_movie(file) as container:
        picture, _ = played(container)
        shown = _timeline(file, movie, container, picture, None).picture
    return {"seconds": round(shown.end - shown.start, 3)}


def answer(request: dict[str, Any], file: BinaryIO | None = None) -> dict[str, Any]:
    """The answer to one request; every error becomes an answer."""
    _limit_processor(request["cpu_seconds"])
    source: Any = file
    try:
        if "posters" in request:
            return _composed(request)
        if "measure" in request:
            found = measure(source)
        else:
            wanted = request["poster_width"], request["shortest_seconds"], request["cpu_seconds"] / 2
            found = inspect(source, *wanted)
    except (BoxError, TimelineError, UnreadableError) as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": f"reading it needs more than {MEMORY_BYTES >> 20:,} MB of memory"}
    except OSError as error:
        found = {"error": f"it cannot be read: {error.strerror}"}
    except Exception as error:  # noqa: BLE001  # a stranger's file may make anything of ours or PyAV's raise
        found = {"error": f"reading it fails with {type(error).__name__}"}
    return found | {"memory_bytes": _memory()}


def _memory() -> int:
    """Bytes in use. Not ru_maxrss, which starts with the parent's use at the fork."""
    try:
        pages = int(os.pread(_STATM, 100, 0).split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _opened(path: str) -> int:
    """The open file of this process's memory statistics, opened before files are forbidden; -1 if there is none."""
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
    """Give up rights that are not needed; they do not come back."""
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
    """Keep standard output for answers: text that a library prints is dropped."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _requests(asked: socket.socket) -> Iterator[tuple[dict[str, Any], BinaryIO | None]]:
    """Every request with its file, until the parent closes the socket."""
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
