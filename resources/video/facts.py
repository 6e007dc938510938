"""What is known of a video file, and how that differs from what the request promised."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from resources.errors import DailiesError
from resources.requests import Expected


class UnreadableVideoError(DailiesError):
    """The file is damaged, not an MP4, or more than the guarded worker may spend on one clip."""


class VideoFacts(BaseModel):
    """What the file itself says.

    Attributes:
        width: Pixels as shown, so after a rotation the file asks for.
        height: Pixels as shown.
        duration: Seconds of the picture.
        fps: Frames a second on average.
        video_codec: `h264`, `hevc`, `av1`, `vp9` or `mpeg4`.
        audio_codec: `aac`, `mp3`, `opus`, ...; None without an audio track.
        has_audio: Whether there is an audio track with samples in it; it may still be silent.
        size_bytes: Of the whole file.
        truncated: The end is missing: the file refers to bytes it does not have.
        faststart: The index comes before the data, so that it plays while it loads.
        c2pa: It carries a C2PA manifest (content credentials); whether that is valid is not checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    duration: float = Field(gt=0, allow_inf_nan=False)
    fps: float = Field(gt=0, allow_inf_nan=False)
    video_codec: str
    audio_codec: str | None
    has_audio: bool
    size_bytes: int = Field(gt=0)
    truncated: bool
    faststart: bool
    c2pa: bool


@dataclass(frozen=True)
class Inspection:
    """What the worker found out about one file.

    Attributes:
        video: The facts.
        poster_webp: A small picture from near its beginning, None where the picture could not be decoded.
    """

    video: VideoFacts
    poster_webp: bytes | None


def compare(facts: VideoFacts, expected: Expected, *, tolerance_seconds: float = 0.2) -> list[str]:
    """In sentences, how a file differs from what its request promised; empty when it does not.

    Args:
        facts: Of the file.
        expected: Of the request; what it does not say is not compared.
        tolerance_seconds: By how much the duration may differ.
    """
    differences = []
    if facts.truncated:
        differences.append("the file is cut off: it refers to bytes that are not there")
    wanted = (expected.width or facts.width, expected.height or facts.height)
    if wanted != (facts.width, facts.height):
        differences.append(
            f"the picture is {facts.width}x{facts.height}, asked for was {wanted[0]}x{wanted[1]}"
        )
    if expected.duration is not None and abs(facts.duration - expected.duration) > tolerance_seconds:
        differences.append(f"it lasts {facts.duration:.2f} s, asked for were {expected.duration:g} s")
    if expected.audio is True and not facts.has_audio:
        differences.append("there is no sound, though the endpoint promises it")
    if expected.audio is False and facts.has_audio:
        differences.append(f"there is sound ({facts.audio_codec}), though the endpoint promises none")
    return differences
