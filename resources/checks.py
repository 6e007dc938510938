"""What a series wants checked of its clips before they count as delivered: the `checks` of a declaration.

Whether the file is whole cannot be switched off: the bucket's `videos/` holds only whole videos.
"""

from typing import Annotated, Literal

from pydantic import Field

from resources.declared.validation import Declared

Level = Literal["off", "warn", "fail"]
"""What is done about a clip that does not pass: nothing is looked at, it is noted, or the clip is kept apart."""

VideoCodec = Literal["h264", "hevc", "av1", "vp9", "mpeg4"]
AudioCodec = Literal["aac", "mp3", "opus", "flac", "ac3", "eac3"]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Checks(Declared):
    """What is checked of every clip. `off`, `warn` (noted in the manifest) or `fail` (kept in quarantine, red)."""

    size: Level = "fail"
    """Whether width and height are those of the request."""
    duration: Level = "fail"
    """Whether it lasts as long as was asked for."""
    duration_seconds: Seconds = 0.2
    """By how many seconds the duration may differ."""
    frame_rate: Level = "warn"
    """Whether it has the frame rate that the request or `fps` names; not looked at where neither does."""
    fps: Annotated[float, Field(gt=0, le=240, allow_inf_nan=False)] | None = Field(
        default=None, examples=[24]
    )
    """Frames a second that are wanted, for endpoints that take no such parameter."""
    codecs: Level = "warn"
    """Whether picture and sound are in codecs that can be used."""
    video_codecs: Annotated[list[VideoCodec], Field(min_length=1)] = Field(
        default=["h264", "hevc", "av1", "vp9"]
    )
    """Codecs of the picture that can be used."""
    audio_codecs: Annotated[list[AudioCodec], Field(min_length=1)] = Field(default=["aac", "mp3", "opus"])
    """Codecs of the sound that can be used."""
    audio: Level = "fail"
    """Whether there is a sound track where the endpoint promises one, and none where it promises none."""
    coverage: Level = "fail"
    """Whether picture and sound are there from the beginning of the clip to its end. Missing sound does not count where `silence` is off."""
    coverage_seconds: Seconds = 1.0
    """How long one of them may be missing altogether; half of a shorter clip."""
    silence: Literal["off", "warn", "fail", "allowed"] = "fail"
    """Whether it is silent for long (no sound, or none above -60 dBFS); `allowed` is the same as `off`."""
    silence_seconds: Seconds = 5.0
    """How long it may be silent at a stretch; a shorter clip may not be silent for three quarters of it."""
    black: Level = "fail"
    """Whether the picture is black for long."""
    black_seconds: Seconds = 2.0
    """How long it may be black at a stretch; a shorter clip may not be black from beginning to end."""
    frozen: Level = "fail"
    """Whether the picture stands still for long. A scene without any motion wants `warn` here."""
    frozen_seconds: Seconds = 3.0
    """How long it may stand still at a stretch; a shorter clip may not from beginning to end."""
    model: Level = "fail"
    """Whether the provider says that another model made it than the one that was bought; not looked at where it says nothing."""
    nsfw: Level = "fail"
    """Whether the provider says that it is not safe for work; not looked at where it says nothing."""
    duplicate: Level = "warn"
    """Whether it looks like an earlier clip of the series. Series of loops or fixed seeds may want `off`."""
    duplicate_bits: Annotated[int, Field(ge=0, le=20)] = 6
    """How many of 64 bits of the perceptual hashes may differ for clips to look the same."""
