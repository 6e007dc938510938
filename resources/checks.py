"""The checks that a series asks for before a clip counts as delivered: `checks` of a declaration.

The check for a whole file cannot be switched off: the bucket's `videos/` contains only whole videos.
"""

from typing import Annotated, Literal

from pydantic import Field

from resources.declared.validation import Declared

Level = Literal["off", "warn", "fail"]
"""The consequence of a failed check: `off` does not check, `warn` records it, `fail` quarantines the clip."""

VideoCodec = Literal["h264", "hevc", "av1", "vp9", "mpeg4"]
AudioCodec = Literal["aac", "mp3", "opus", "flac", "ac3", "eac3"]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Checks(Declared):
    """The checks of every clip: `off`, `warn` (recorded in the manifest) or `fail` (kept in quarantine, red)."""

    size: Level = "fail"
    """Whether width and height are those of the request."""
    duration: Level = "fail"
    """Whether it has the ordered duration."""
    duration_seconds: Seconds = 0.2
    """Seconds by which the duration may differ."""
    frame_rate: Level = "warn"
    """Whether it has the frame rate of the request or of `fps`; skipped if neither is given."""
    fps: Annotated[float, Field(gt=0, le=240, allow_inf_nan=False)] | None = Field(
        default=None, examples=[24]
    )
    """The expected frames per second, for endpoints without such a parameter."""
    codecs: Level = "warn"
    """Whether picture and sound have allowed codecs."""
    video_codecs: Annotated[list[VideoCodec], Field(min_length=1)] = Field(
        default=["h264", "hevc", "av1", "vp9"]
    )
    """Allowed codecs of the picture."""
    audio_codecs: Annotated[list[AudioCodec], Field(min_length=1)] = Field(default=["aac", "mp3", "opus"])
    """Allowed codecs of the sound."""
    audio: Level = "fail"
    """Whether there is a sound track if the endpoint promises one, and none if it promises none."""
    coverage: Level = "fail"
    """Whether picture and sound last from the beginning of the clip to its end. Missing sound does not count if `silence` is off."""
    coverage_seconds: Seconds = 1.0
    """Seconds for which one of them may be missing in total; half of a shorter clip."""
    silence: Literal["off", "warn", "fail", "allowed"] = "fail"
    """Whether it is silent for long (no sound, or none above -60 dBFS); `allowed` is the same as `off`."""
    silence_seconds: Seconds = 5.0
    """Most seconds of silence at a stretch; a shorter clip may not be silent for three quarters of it."""
    black: Level = "fail"
    """Whether the picture is black for long."""
    black_seconds: Seconds = 2.0
    """Most seconds of black at a stretch; a shorter clip may not be black from beginning to end."""
    frozen: Level = "fail"
    """Whether the picture is still for long. A scene without motion needs `warn` here."""
    frozen_seconds: Seconds = 3.0
    """Most seconds of a still picture at a stretch; a shorter clip may not be still from beginning to end."""
    model: Level = "fail"
    """Whether the provider says that it used another model than the bought one; skipped if it says nothing."""
    nsfw: Level = "fail"
    """Whether the provider says that the clip is not safe for work; skipped if it says nothing."""
    credentials: Level = "warn"
    """Whether its content credentials (C2PA), where it carries some, fit its bytes; skipped if it carries none."""
    duplicate: Level = "warn"
    """Whether it looks like an earlier clip of the series. Series of loops or with fixed seeds may need `off`."""
    duplicate_bits: Annotated[int, Field(ge=0, le=20)] = 6
    """Bits of 64 in the perceptual hashes that may differ between clips that look the same."""

    @property
    def shortest_stretch_seconds(self) -> float:
        """The shortest black or still stretch of a long clip that a check reports, in seconds."""
        stretches = ((self.black, self.black_seconds), (self.frozen, self.frozen_seconds))
        return min((most for level, most in stretches if level != "off"), default=self.black_seconds)
