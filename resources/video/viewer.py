"""The decoder loop: passes every decoded frame, with its time, to the modules that find stretches in picture and sound.

Only the guarded worker loads it.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from resources.video.boxes import Movie
from resources.video.display import Display
from resources.video.key_frames import Parts, drained
from resources.video.stretches import Picture, Sound, is_loud
from resources.video.timeline import LONGEST_SOUND_SECONDS, Timeline, edits_of
from resources.video.tracks import DECODERS

TILE_WIDTH = 240
"""Pixels of each frame of the strip."""


class Viewer:
    """Watches one clip.

    Attributes:
        seen: Stretches of the picture.
        heard: Stretches of the sound.
    """

    def __init__(
        self, picture: Any, sound: Any, movie: Movie, line: Timeline, parts: Parts | None = None
    ) -> None:
        """Prepare to watch a clip.

        Args:
            picture: The stream that is shown.
            sound: The stream that is heard, or None.
            parts: The parts in which frames may be left out; None to decode all.
        """
        self.seen, self.heard = Picture(line.duration, TILE_WIDTH), Sound()
        self._picture, self._sound, self._line = picture, sound, line
        self._parts, self._part = parts, -1
        self._decoding = parts is None
        self._from = 0.0
        self._cuts, self._pauses = edits_of(movie, picture), edits_of(movie, sound).empty
        self._still: tuple[float, float] | None = None
        context = None if sound is None else sound.codec_context
        self._is_decoded = context is not None and context.name in DECODERS
        self._resampler: Any = None
        self._sounds_as: object = None

    def watch(self, container: Any, seconds: float) -> str | None:
        """Watch the clip from its beginning; returns why decoding ended early, or None.

        Args:
            container: An open input container.
            seconds: Processor limit; the rest of the clip is not watched.
        """
        from av.error import FFmpegError

        give_up = time.process_time() + seconds
        broken: str | None = None
        for packet in container.demux([one for one in (self._picture, self._sound) if one is not None]):
            is_sound = packet.stream_index != self._picture.index
            if is_sound and broken is not None:
                continue
            try:
                if is_sound:
                    self._listen(packet)
                else:
                    self._decode(packet)
            except (FFmpegError, ValueError) as error:
                track = "its sound" if is_sound else "it"
                at = self.heard.until if is_sound else self.seen.looked
                broken = f"decoding {track} stops after {at:.2f} s ({type(error).__name__})"
                if not is_sound:
                    return broken
            if time.process_time() > give_up:
                return broken
        self.seen.end(self._line.duration)
        self.heard.end(self._line.duration)
        return broken

    def _decode(self, packet: Any) -> None:
        if self._parts is None or not packet.size:
            frames = packet.decode() if self._decoding else []
        else:
            frames = self._needed(self._parts, packet)
        for frame in frames:
            self._show(frame)

    def _needed(self, parts: Parts, packet: Any) -> Iterator[Any]:
        """The frames that come out of the decoder with a packet, which is left out where no frame of its part is needed."""
        if packet.is_keyframe and not packet.is_discard:
            self._part += 1
            if not self._decoding:
                self._from = parts.starts[self._part]
            is_needed = parts.whole[self._part] or self.seen.wants(parts.ends[self._part])
        else:
            is_needed = self._decoding and (
                parts.whole[self._part] or self.seen.wants(parts.ends[self._part])
            )
        if is_needed:
            self._decoding = True
            yield from packet.decode()
        elif self._decoding:
            self._decoding = False
            yield from drained(self._picture)
            self.seen.moves(max(self.seen.looked, parts.starts[self._part]))

    def _show(self, frame: Any) -> None:
        if self.seen.poster is None:
            self.seen.display = Display.of(self._picture.sample_aspect_ratio, frame.rotation)
        at = self._at(frame.time, self.seen.looked)
        still, self._still = self._still, _within(self._cuts.still, at)
        if at < self._from - 0.001:
            return  # it refers to frames that were left out
        if _within(self._cuts.empty, at) is not None:
            self.seen.nothing(at)
        elif self._parts is not None and not self._parts.whole[self._parts.at(at)] and not self.seen.is_dark:
            self.seen.moves(at, frame)
        elif self._still is None or self._still != still:
            self.seen.see(frame, at)

    def _listen(self, packet: Any) -> None:
        if self._is_decoded:
            for frame in packet.decode():
                at = self._at(frame.time, self.heard.until)
                if _within(self._pauses, at) is not None:
                    continue
                if is_loud(frame):
                    self.heard.play(at, at + frame.samples / frame.sample_rate, audible=True)
                    continue
                for piece in self._resampled(frame):
                    self.heard.hear(piece, at)
        elif packet.pts is not None and packet.size and not packet.is_discard:
            # a codec that is not decoded may contain any sound
            seconds = min(float((packet.duration or 0) * packet.time_base), LONGEST_SOUND_SECONDS)
            at = self._at(float(packet.pts * packet.time_base), self.heard.until)
            if _within(self._pauses, at) is None:
                self.heard.play(at, at + seconds, audible=True)

    def _resampled(self, frame: Any) -> Any:
        """16-bit samples. A resampler takes one format of frames, and a track may change its format."""
        from av import AudioResampler

        sounds_as = frame.format.name, frame.layout.name, frame.sample_rate
        if sounds_as != self._sounds_as:
            self._resampler, self._sounds_as = AudioResampler(format="s16p"), sounds_as
        return self._resampler.resample(frame)

    def _at(self, seconds: float | None, otherwise: float) -> float:
        """The time of a frame or a packet in the presentation, in seconds."""
        return otherwise if seconds is None else max(0.0, seconds - self._line.origin)


def _within(stretches: Iterable[tuple[float, float]], at: float) -> tuple[float, float] | None:
    return next((one for one in stretches if one[0] - 0.001 <= at < one[1] - 0.001), None)
