"""What is known of a video file: what it says of itself, and what was seen and heard in it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.errors import DailiesError
from resources.video.perceptual_hash import LOOK_PATTERN


class UnreadableVideoError(DailiesError):
    """The file is damaged, not an MP4, or more than the guarded worker may spend on one clip."""


Stretch = tuple[
    Annotated[float, Field(ge=0, allow_inf_nan=False)], Annotated[float, Field(ge=0, allow_inf_nan=False)]
]
"""Beginning and end, in seconds from the clip's beginning."""


class PlayedTrack(BaseModel):
    """When a track plays.

    Attributes:
        start: Seconds from the beginning of the clip.
        end: Seconds.
        gap: The longest stretch between them in which nothing plays, beginning and end in seconds.
        missing_seconds: All such stretches together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(ge=0, allow_inf_nan=False)
    end: float = Field(ge=0, allow_inf_nan=False)
    gap: Stretch | None = None
    missing_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class VideoFacts(BaseModel):
    """What the file itself says.

    Attributes:
        width: Square pixels as shown, so after the pixels' shape and the rotation that the file asks for.
        height: Square pixels as shown.
        duration: Seconds that the file plays, until the picture and the sound have both ended.
        fps: Frames a second on average.
        video_codec: `h264`, `hevc`, `av1`, `vp9` or `mpeg4`.
        audio_codec: `aac`, `mp3`, `opus`, ...; None without an audio track.
        has_audio: Whether there is an audio track with samples in it; it may still be silent.
        size_bytes: Of the whole file.
        truncated: The end is missing: the file refers to bytes it does not have.
        faststart: The index comes before the data, so that it plays while it loads.
        c2pa: It carries a C2PA manifest (content credentials); whether that is valid is not checked.
        trailing_bytes: After the last whole box; they are not needed to play it.
        speeds: Its edit list wants parts of it played at another speed, which few players do.
        picture: When the picture plays; None in a manifest of an earlier dailies.
        sound: When the sound plays; None without sound, too.
        pixel_aspect: Width of a stored pixel by its height.
        rotation: Degrees clockwise by which a player turns the stored picture.
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
    trailing_bytes: int = Field(default=0, ge=0)
    speeds: bool = False
    picture: PlayedTrack | None = None
    sound: PlayedTrack | None = None
    pixel_aspect: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    rotation: Literal[0, 90, 180, 270] = 0


class Looked(BaseModel):
    """What was seen and heard when the clip was looked through.

    Attributes:
        seconds: How much of it was looked at; less than its duration where that took too long.
        black: The longest black stretch, None where there is none.
        frozen: The longest stretch in which the picture stands still, black ones left out.
        silent: The longest stretch in which the sound is silent.
        look: The perceptual hash; see `resources.video.perceptual_hash`.
        broken: Why decoding ended early, None where it did not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(ge=0, allow_inf_nan=False)
    black: Stretch | None = None
    frozen: Stretch | None = None
    silent: Stretch | None = None
    look: str | None = Field(default=None, pattern=LOOK_PATTERN)
    broken: str | None = Field(default=None, max_length=300)


@dataclass(frozen=True)
class Inspection:
    """What the worker found out about one file.

    Attributes:
        video: The facts.
        poster_webp: A picture of it, None where it could not be decoded.
        strip_webp: Some frames side by side, None where it could not be decoded.
        looked: What was seen and heard, None where it could not be decoded.
    """

    video: VideoFacts
    poster_webp: bytes | None
    strip_webp: bytes | None = None
    looked: Looked | None = None
