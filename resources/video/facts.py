"""The facts of a video file, and what its picture and sound contain."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.errors import DailiesError
from resources.video.credentials import ContentCredentials
from resources.video.perceptual_hash import LOOK_PATTERN


class UnreadableVideoError(DailiesError):
    """The file is damaged, no MP4, or too expensive for the guarded worker."""


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
    """The longest pause inside the track, beginning and end in seconds."""
    missing_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds of all pauses."""


class VideoFacts(BaseModel):
    """The facts that the file states."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(gt=0)
    """Displayed width in square pixels: after aspect ratio and rotation."""
    height: int = Field(gt=0)
    """Displayed height in square pixels."""
    duration: float = Field(gt=0, allow_inf_nan=False)
    """Seconds until both the picture and the sound have ended."""
    fps: float = Field(gt=0, allow_inf_nan=False)
    """Frames a second on average."""
    video_codec: str
    """`h264`, `hevc`, `av1`, `vp9` or `mpeg4`."""
    audio_codec: str | None
    """`aac`, `mp3`, `opus`, ...; None without an audio track."""
    has_audio: bool
    """Whether an audio track has samples; they may be silent."""
    size_bytes: int = Field(gt=0)
    """Of the whole file."""
    truncated: bool
    """The end is missing: the file refers to bytes that it does not have."""
    faststart: bool
    """The index is before the data, so that the file plays while it loads."""
    c2pa: bool
    """It contains a C2PA manifest (content credentials); whether it is valid, `resources.video.credentials` says."""
    trailing_bytes: int = Field(default=0, ge=0)
    """Bytes after the last complete box; a player does not need them."""
    speeds: bool = False
    """Its edit list asks for another speed in parts, which few players support."""
    picture: PlayedTrack | None = None
    """When the picture plays; None in a manifest of an earlier dailies."""
    sound: PlayedTrack | None = None
    """When the sound plays; None without sound, or in a manifest of an earlier dailies."""
    pixel_aspect: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Width of a stored pixel divided by its height."""
    rotation: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which a player turns the stored picture."""


class Looked(BaseModel):
    """What the picture and the sound of a clip contain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(ge=0, allow_inf_nan=False)
    """Seconds that were watched; less than the duration if the time limit ended it."""
    black: Stretch | None = None
    """The longest black stretch, None if there is none."""
    frozen: Stretch | None = None
    """The longest stretch with a still picture that is not black."""
    silent: Stretch | None = None
    """The longest silent stretch."""
    look: str | None = Field(default=None, pattern=LOOK_PATTERN)
    """The perceptual hash; see `resources.video.perceptual_hash`."""
    broken: str | None = Field(default=None, max_length=300)
    """Why decoding ended early, None if it did not."""


@dataclass(frozen=True)
class Inspection:
    """The worker's result for one file."""

    video: VideoFacts
    """The facts."""
    poster_webp: bytes | None
    """A poster, None if the file could not be decoded."""
    strip_webp: bytes | None = None
    """Some frames side by side, None if the file could not be decoded."""
    looked: Looked | None = None
    """What it contains, None if the file could not be decoded."""
    credentials: ContentCredentials | None = None
    """Its content credentials, None if they were not verified."""
