"""Cheap real MP4s: one second is encoded for each size and colour, and repeated to the ordered duration.

A clip is a template on disk, shared by all jobs of the same size, duration and colour, with 64 bytes of the comment tag for the
job. So every job has its own bytes, the same at every download, and costs no encoding.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.sandbox.endpoints import Flaw, Frame

if TYPE_CHECKING:
    import av

PALETTES = (
    ("0x0b1d3a", "0xf0b429", "0xd64545", "0x2cb1bc"),
    ("0x12372a", "0xfbfada", "0x436850", "0xd98324"),
    ("0x2d1b4e", "0xff6f91", "0xffc75f", "0x845ec2"),
    ("0x3d0e1e", "0xf7b267", "0xf25c54", "0x5b8e7d"),
    ("0x0f2027", "0x9bd1e5", "0x2c7da0", "0xe9f5db"),
    ("0x1b1b1e", "0xeaf27c", "0x49b6ff", "0xd8c4b6"),
)
"""Four colours of a moving gradient. The job's id chooses the row, so that people can distinguish clips."""

_MARK = b"sandbox-clip-of-job-" + b"0" * 44
_AUDIO_RATE = 48_000
_AUDIO_FRAME = 1024
_AUDIO_LOOP = 47
"""AAC frames in the repeated piece of sound: just over a second."""


@dataclass(frozen=True)
class Footage:
    """The file of one job."""

    path: Path
    """The shared template."""
    size: int
    """Bytes."""
    etag: str
    """Strong, quoted."""
    mark: int
    """The offset of the job's own 64 bytes."""
    stamp: bytes
    """The job's own bytes."""

    def read(self, start: int, length: int) -> bytes:
        """A part of the job's file."""
        with self.path.open("rb") as file:
            file.seek(start)
            piece = bytearray(file.read(length))
        for position in range(max(start, self.mark), min(start + len(piece), self.mark + len(self.stamp))):
            piece[position - start] = self.stamp[position - self.mark]
        return bytes(piece)


class ClipStore:
    """Makes each clip at its first request, and keeps templates in a directory. For one thread at a time.

    Args:
        directory: For templates; created if missing.
        pad_to: The smallest size of a clip in bytes, None for no padding.
    """

    def __init__(self, directory: Path, pad_to: int | None = None) -> None:
        self._directory = directory
        self._pad_to = pad_to
        self._marks: dict[Path, int] = {}

    def clip(self, job_id: str, frame: Frame) -> Footage:
        """The clip of a job. Blocks for some milliseconds, or a few hundred for a new size."""
        digest = hashlib.sha256(job_id.encode()).hexdigest()
        palette = int(digest[:8], 16) % len(PALETTES)
        sound = "sound" if frame.audio else "mute"
        kind = f"{palette}-{frame.flaw or 'good'}-{sound}"
        name = f"{frame.width}x{frame.height}-{frame.fps}fps-{frame.seconds}s-{kind}-{self._pad_to or 0}.mp4"
        path = self._directory / name
        if path not in self._marks:
            if not path.exists():
                self._make(path, frame, palette)
            self._marks[path] = path.read_bytes().index(_MARK)
        return Footage(path, path.stat().st_size, f'"{digest[:32]}"', self._marks[path], digest.encode())

    def _make(self, path: Path, frame: Frame, palette: int) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.mp4")
        picture = _picture_second(frame.width, frame.height, frame.fps, palette, frame.flaw)
        sound = _sound_second(palette, silent=frame.flaw == "silent") if frame.audio else None
        _repeat(partial, frame, picture, sound)
        missing = (self._pad_to or 0) - partial.stat().st_size
        if missing > 0:
            with partial.open("ab") as file:
                file.write(max(missing, 8).to_bytes(4, "big") + b"free" + bytes(max(missing, 8) - 8))
        partial.replace(path)


@lru_cache(maxsize=16)
def _picture_second(width: int, height: int, fps: int, palette: int, flaw: Flaw | None = None) -> bytes:
    """An MP4 with one second of a moving gradient: it starts with a key frame, has another in its middle, and ends as it begins."""
    import av
    from av.filter import Graph

    graph = Graph()
    colours = ":".join(f"c{n}={colour}" for n, colour in enumerate(PALETTES[palette]))
    # a quarter of the size, scaled up: a gradient looks the same and costs a fifth
    speed = 0 if flaw == "frozen" else 0.06
    small = f"s={max(width // 8 * 2, 16)}x{max(height // 8 * 2, 16)}:r={fps}:n=4:{colours}:speed={speed}:seed={palette + 1}"
    nodes = [
        graph.add("gradients", small),
        graph.add("scale", f"{width}:{height}"),
        *([graph.add("lutrgb", "r=0:g=0:b=0")] if flaw == "black" else []),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for left, right in pairwise(nodes):
        left.link_to(right)
    graph.configure()
    forth = [graph.pull() for _ in range(fps // 2 + 1)]
    # forward and back, without the same frame twice in a row, so that the repetition does not jump
    order = [*range(fps // 2 + 1), *range(fps - fps // 2 - 1, 0, -1)]

    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {
            "preset": "ultrafast",
            "crf": "18",
            # where the movement turns: copies of one key frame in a row would look like a picture that stands still
            "g": str(-(-fps // 2)),
            "keyint_min": str(-(-fps // 2)),
            "threads": "1",
            # the profile that models deliver; decoding it costs twice as much as a baseline clip
            "profile": "high",
            "bf": "3",
            "x264-params": "cabac=1:8x8dct=1:b-pyramid=normal:scenecut=0",
        }
        for number, index in enumerate(order):
            picture: Any = forth[index]
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, fps), 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return out.getvalue()


@lru_cache(maxsize=2 * len(PALETTES))
def _sound_second(palette: int, *, silent: bool = False) -> bytes:
    """An MP4 of a tone or of silence, long enough to take one seamless piece from its middle."""
    import av
    from av.filter import Graph

    # a whole number of waves, so that the end of the repeated piece meets its beginning
    waves = (262, 294, 330, 392, 440, 523)[palette]
    pitch = waves * _AUDIO_RATE / (_AUDIO_LOOP * _AUDIO_FRAME)
    graph = Graph()
    nodes = [
        graph.add("sine", f"f={pitch}:r={_AUDIO_RATE}:samples_per_frame={_AUDIO_FRAME}"),
        graph.add("volume", "0" if silent else "2.0"),
        graph.add("aformat", f"sample_fmts=fltp:sample_rates={_AUDIO_RATE}:channel_layouts=stereo"),
        graph.add("abuffersink"),
    ]
    for left, right in pairwise(nodes):
        left.link_to(right)
    graph.configure()
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=_AUDIO_RATE, layout="stereo")
        stream.bit_rate = 96_000
        for number in range(2 * _AUDIO_LOOP + 2):
            sound: Any = graph.pull()
            sound.pts, sound.time_base = number * _AUDIO_FRAME, Fraction(1, _AUDIO_RATE)
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return out.getvalue()


def _repeat(path: Path, frame: Frame, picture: bytes, sound: bytes | None) -> None:
    """Write a clip of the full duration from copies of the encoded second; nothing is encoded."""
    import av

    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        out.metadata["comment"] = _MARK.decode()
        second, video = _take(out, picture, "video")
        tracks = [_packets(second, video, Fraction(1, frame.fps), 1, frame.fps * frame.seconds)]
        if sound is not None:
            heard, audio = _take(out, sound, "audio")
            frames = round(frame.seconds * _AUDIO_RATE / _AUDIO_FRAME)
            steady = heard[_AUDIO_LOOP // 2 : _AUDIO_LOOP // 2 + _AUDIO_LOOP]
            tracks.append(_packets(steady, audio, Fraction(1, _AUDIO_RATE), _AUDIO_FRAME, frames))
        # the muxer takes packets in the order of their times
        for packet in sorted((p for track in tracks for p in track), key=_seconds):
            out.mux(packet)


def _take(out: "av.container.OutputContainer", source: bytes, kind: str) -> tuple[list[Any], Any]:
    import av

    with av.open(BytesIO(source), "r") as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [p for p in container.demux(stream) if p.size], out.add_stream_from_template(stream)


def _packets(taken: list[Any], stream: Any, base: Fraction, step: int, count: int) -> Iterator[Any]:
    """Copies of a piece of a track in a row. Frames come in the order of decoding, and B frames are shown later or earlier."""
    import av

    early = [round((one.pts - one.dts) * one.time_base / (step * base)) for one in taken]
    for number in range(count):
        place = number % len(taken)
        packet = av.Packet(bytes(taken[place]))
        packet.stream, packet.time_base = stream, base
        packet.dts = (number - early[0]) * step
        packet.pts = packet.dts + early[place] * step
        packet.duration = step
        packet.is_keyframe = taken[place].is_keyframe
        yield packet


def _seconds(packet: Any) -> Fraction:
    time: Fraction = packet.dts * packet.time_base
    return time
