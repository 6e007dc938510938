"""The guarded process that decodes strangers' videos: `python -m resources.video.worker` (`resources.video.guarded_process`).

It answers each `{"poster_width": ..., "shortest_seconds": ...}` with a file, `{"measure": true}` for the duration of the file's
picture, `{"first_frame": true}` for its first frame, or `{"posters": [...], "failed": [...]}` for a contact sheet.
"""

import base64
import contextlib
import os
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import av.subtitles.stream  # PyAV loads it with the first file, when nothing can be opened any more

from resources.video.boxes import BoxError, Movie, walk
from resources.video.first_frames import first_frame_of, png
from resources.video.guarded_process import Ask, serve
from resources.video.key_frames import Parts, are_close, can_be_left_out, parts_of
from resources.video.sheets import compose, size_of
from resources.video.timeline import Timeline, TimelineError, edits_of, read
from resources.video.tracks import DECODERS, MAX_PIXELS, UnreadableError, codec_of, played
from resources.video.viewer import Viewer

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
    measured: dict[str, Any] = {}
    parts = _parts(file, movie, line, shortest_seconds)
    try:
        with _opened_movie(file) as container:
            measured = _watch(container, movie, line, facts, parts, poster_width, look_seconds)
    except (av.error.FFmpegError, UnreadableError, ValueError) as error:
        if not facts["truncated"]:
            why = error if isinstance(error, UnreadableError) else type(error).__name__
            raise UnreadableError(f"its picture cannot be decoded: {why}") from None
    return {"video": facts, **measured}


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


def _watch(
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
    film, display = viewer.seen, viewer.seen.display
    if film.poster is None:
        raise UnreadableError(broken or "there is no frame in it")
    facts["width"], facts["height"] = display.size(film.poster)
    facts["pixel_aspect"], facts["rotation"] = round(display.aspect, 6), 90 * display.quarters
    # the last packet of sound may contain more samples than are played
    silent = [min(at, facts["duration"]) for at in (line.sound and viewer.heard.plain()) or []] or None
    strip = beside(film.tiles) if film.tiles else None
    return {
        "looked": {**film.plain(), "silent": silent, "broken": broken},
        "poster": _text(_webp(display.scaled(film.poster, width))),
        "strip": None if strip is None else _text(_webp(strip)),
    }


def beside(tiles: list[Any]) -> Any:
    """Several pictures of the same size side by side in one."""
    frame = av.VideoFrame(sum(tile.width for tile in tiles), tiles[0].height, "yuv420p")
    for number, plane in enumerate(frame.planes):
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
    return frame


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


def first_frame(file: BinaryIO) -> dict[str, Any]:
    """The first frame that a player shows, as PNG.

    Raises:
        UnreadableError: The file has no picture or no frame.
    """
    movie = walk(file)
    with _opened_movie(file) as container:
        picture, _ = played(container)
        line = _timeline(file, movie, container, picture, None)
    with _opened_movie(file) as container:
        picture, _ = played(container)
        picture.codec_context.thread_count, picture.codec_context.options = 1, _GUARD
        try:
            return {
                "first_frame": _text(
                    png(first_frame_of(container, picture, line.origin), picture.sample_aspect_ratio)
                )
            }
        except (av.error.FFmpegError, ValueError) as error:
            raise UnreadableError(f"its first frame cannot be decoded ({type(error).__name__})") from None


def answer(request: dict[str, Any], files: list[BinaryIO], _ask: Ask) -> dict[str, Any]:
    """The answer to one request."""
    if "posters" in request:
        return _composed(request)
    if "measure" in request:
        return measure(files[0])
    if "first_frame" in request:
        return first_frame(files[0])
    options = request["poster_width"], request["shortest_seconds"], request["cpu_seconds"] / 2
    return inspect(files[0], *options)


if __name__ == "__main__":
    serve(answer, (BoxError, TimelineError, UnreadableError))
