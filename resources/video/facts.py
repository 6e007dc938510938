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
    """When a track plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(ge=0, allow_inf_nan=False)
    """Seconds from the beginning of the clip."""
    end: float = Field(ge=0, allow_inf_nan=False)
    """Seconds."""
    gap: Stretch | None = None
    """The longest stretch between them in which nothing plays, beginning and end in seconds."""
    missing_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """All such stretches together."""


class VideoFacts(BaseModel):
    """What the file itself says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(gt=0)
    """Square pixels as shown, so after the pixels' shape and the rotation that the file asks for."""
    height: int = Field(gt=0)
    """Square pixels as shown."""
    duration: float = Field(gt=0, allow_inf_nan=False)
    """Seconds that the file plays, until the picture and the sound have both ended."""
    fps: float = Field(gt=0, allow_inf_nan=False)
    """Frames a second on average."""
    video_codec: str
    """`h264`, `hevc`, `av1`, `vp9` or `mpeg4`."""
    audio_codec: str | None
    """`aac`, `mp3`, `opus`, ...; None without an audio track."""
    has_audio: bool
    """Whether there is an audio track with samples in it; it may still be silent."""
    size_bytes: int = Field(gt=0)
    """Of the whole file."""
    truncated: bool
    """The end is missing: the file refers to bytes it does not have."""
    faststart: bool
    """The index comes before the data, so that it plays while it loads."""
    c2pa: bool
    """It carries a C2PA manifest (content credentials); whether that is valid is not checked."""
    trailing_bytes: int = Field(default=0, ge=0)
    """After the last whole box; they are not needed to play it."""
    speeds: bool = False
    """Its edit list wants parts of it played at another speed, which few players do."""
    picture: PlayedTrack | None = None
    """When the picture plays; None in a manifest of an earlier dailies."""
    sound: PlayedTrack | None = None
    """When the sound plays; None without sound, too."""
    pixel_aspect: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Width of a stored pixel by its height."""
    rotation: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which a player turns the stored picture."""


class Looked(BaseModel):
    """What was seen and heard when the clip was looked through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(ge=0, allow_inf_nan=False)
    """How much of it was looked at; less than its duration where that took too long."""
    black: Stretch | None = None
    """The longest black stretch, None where there is none."""
    frozen: Stretch | None = None
    """The longest stretch in which the picture stands still, black ones left out."""
    silent: Stretch | None = None
    """The longest stretch in which the sound is silent."""
    look: str | None = Field(default=None, pattern=LOOK_PATTERN)
    """The perceptual hash; see `resources.video.perceptual_hash`."""
    broken: str | None = Field(default=None, max_length=300)
    """Why decoding ended early, None where it did not."""


@dataclass(frozen=True)
class Inspection:
    """What the worker found out about one file."""

    video: VideoFacts
    """The facts."""
    poster_webp: bytes | None
    """A picture of it, None where it could not be decoded."""
    strip_webp: bytes | None = None
    """Some frames side by side, None where it could not be decoded."""
    looked: Looked | None = None
    """What was seen and heard, None where it could not be decoded."""
