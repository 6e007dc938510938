"""Makes MP4s from FFmpeg's own test sources, with the faults that generated clips can have."""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

RATE = 48_000
SAMPLES = 1024

Filter = tuple[str, str]


@dataclass(frozen=True)
class Film:
    """One clip to make."""

    name: str
    """Name of the clip."""
    source: Filter
    """The filter that makes the picture, with its arguments."""
    filters: tuple[Filter, ...] = ()
    """Filters applied to the picture."""
    sound: tuple[Filter, ...] = (("sine", "f=330"),)
    """Filters that make the sound; none for no sound track."""
    heard: tuple[tuple[float, float], ...] = ((0.0, 3600.0),)
    """Stretches with sound, as start and end in seconds."""
    seconds: float = 5.0
    """Duration in seconds."""
    size: tuple[int, int] = (480, 270)
    """Width and height in pixels."""
    fps: int = 24
    """Frames per second."""
    codec: str = "libx264"
    """Name of the encoder."""
    quality: int = 23
    """The encoder's constant rate factor."""
    options: dict[str, str] = field(default_factory=dict)


def make(film: Film, path: Path) -> Path:
    """Make a clip."""
    width, height = film.size
    graph = _graph(
        [
            film.source,
            *film.filters,
            ("scale", f"{width}:{height}"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        ]
    )
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        picture: Any = out.add_stream(film.codec, rate=film.fps)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.options = {"crf": str(film.quality), **_quick(film.codec), **film.options}
        sound: Any = None
        if film.sound:
            sound = out.add_stream("aac", rate=RATE, layout="stereo")
        for number in range(round(film.seconds * film.fps)):
            frame: Any = graph.pull()
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, film.fps), 0
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        if sound is not None:
            _record(out, sound, film)
    return path


def _record(out: Any, stream: Any, film: Film) -> None:
    graph = _graph(
        [
            *film.sound,
            ("aformat", f"sample_fmts=fltp:sample_rates={RATE}:channel_layouts=stereo"),
            ("asetnsamples", f"n={SAMPLES}"),
            ("abuffersink", ""),
        ]
    )
    for number in range(int(film.seconds * RATE / SAMPLES)):
        frame = graph.pull()
        frame.pts, frame.time_base = number * SAMPLES, Fraction(1, RATE)
        if any(start <= number * SAMPLES / RATE < end for start, end in film.heard):
            out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _graph(filters: list[Filter]) -> Any:
    graph = Graph()
    nodes = [graph.add(name, arguments or None) for name, arguments in filters]
    for left, right in pairwise(nodes):
        left.link_to(right)
    graph.configure()
    return graph


def _quick(codec: str) -> dict[str, str]:
    match codec:
        case "libx264":
            return {"preset": "veryfast"}
        case "libx265":
            return {"preset": "ultrafast", "x265-params": "log-level=none"}
        case "libsvtav1":
            return {"preset": "12"}
        case _:
            return {"deadline": "realtime", "cpu-used": "8", "b": "0"}
