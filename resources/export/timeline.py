"""A timeline of fetched takes for an editing program: OpenTimelineIO, and the formats of its adapters for older programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import ConfigurationError
from resources.export.fetched_takes import FetchedTake
from resources.video.facts import VideoFacts

_SAME_RATE = 0.02
"""A file's average rate is read as 23.976 or 29.97 frames a second if it differs by less than this."""
ADAPTERS = {"timeline.otio": "otio_json", "timeline.edl": "cmx_3600", "timeline.xml": "fcp_xml"}


@dataclass(frozen=True)
class Timelines:
    """The timelines of some takes."""

    files: dict[str, bytes]
    """Their contents, by the files' names."""
    left_out: list[str]
    """Sentences about takes that are left out, and about timelines that could not be written."""


def require_timelines() -> None:
    """Check that timelines can be written.

    Raises:
        ConfigurationError: The library is not installed.
    """
    try:
        import opentimelineio  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "--otio needs the package opentimelineio, which has wheels for Python 3.11 to 3.13: `make install` installs it there"
        ) from None


def write_timelines(title: str, takes: Sequence[FetchedTake], folder: Path) -> Timelines:
    """The timelines of takes in a row: a track of pictures, and one of their sounds.

    The links of `timeline.otio` are relative to it, so that the folder can be moved. The two others need whole addresses.

    Args:
        title: The timeline's name.
        takes: In the order of the timeline.
        folder: Has the takes' files.

    Raises:
        ConfigurationError: The library is not installed.
    """
    require_timelines()
    from opentimelineio import adapters
    from opentimelineio.exceptions import OTIOError

    known = [(take, video) for take in takes if (video := take.manifest.video) is not None]
    left_out = [
        f"{take.file} is not in the timeline: its length is unknown"
        for take in takes
        if take.manifest.video is None
    ]
    files: dict[str, bytes] = {}
    if not known:
        return Timelines(files, left_out)
    for name, adapter in ADAPTERS.items():
        linked_from = None if adapter == "otio_json" else folder
        pictures_only = adapter == "cmx_3600"  # an EDL has no second track
        timeline = _timeline(title, known, linked_from, pictures_only=pictures_only)
        options = {"rate": _edl_rate(known[0][1])} if pictures_only else {}
        try:
            text: str = adapters.write_to_string(timeline, adapter, **options)
        except (OTIOError, ValueError) as error:
            # an EDL and Final Cut's XML support only the rates of television, and some models make 16 frames a second
            left_out.append(f"{name} was not written: {error}")
            continue
        files[name] = text.encode()
    return Timelines(files, left_out)


def frame_rate(fps: float) -> float:
    """The standard rate of editing programs, in frames a second; a rate that is near none stays unchanged."""
    from opentimelineio.opentime import RationalTime

    nearest: float = RationalTime.nearest_smpte_timecode_rate(fps)
    return nearest if abs(nearest - fps) < _SAME_RATE else fps


def _edl_rate(video: VideoFacts) -> float:
    """The one rate of an EDL: the first take's, or the nearest that timecodes can have."""
    from opentimelineio.opentime import RationalTime

    rate: float = RationalTime.nearest_smpte_timecode_rate(video.fps)
    return rate


def _timeline(
    title: str,
    takes: Sequence[tuple[FetchedTake, VideoFacts]],
    linked_from: Path | None,
    *,
    pictures_only: bool,
) -> Any:
    from opentimelineio import schema

    timeline = schema.Timeline(title)
    pictures = schema.Track("pictures", kind=schema.TrackKind.Video)
    sounds = schema.Track("sounds", kind=schema.TrackKind.Audio)
    for take, video in takes:
        clip = _clip(take, video, linked_from)
        pictures.append(clip)
        sounds.append(
            _clip(take, video, linked_from) if video.has_audio else schema.Gap(source_range=clip.source_range)
        )
    timeline.tracks.append(pictures)
    if not pictures_only and any(video.has_audio for _, video in takes):
        timeline.tracks.append(sounds)
    return timeline


def _clip(take: FetchedTake, video: VideoFacts, linked_from: Path | None) -> Any:
    from opentimelineio import schema
    from opentimelineio.opentime import RationalTime, TimeRange

    manifest, rate = take.manifest, frame_rate(video.fps)
    seconds = video.duration if video.picture is None else video.picture.end
    whole = TimeRange(RationalTime(0, rate), RationalTime(max(1, round(seconds * rate)), rate))
    address = take.file if linked_from is None else (linked_from.resolve() / take.file).as_uri()
    return schema.Clip(
        name=f"{manifest.clip}-take{take.take.number}",
        media_reference=schema.ExternalReference(target_url=address, available_range=whole),
        source_range=whole,
        metadata={
            "dailies": {
                "clip": manifest.clip,
                "take": take.take.number,
                "attempt": manifest.attempt,
                "sha256": manifest.object.sha256,
                "ai_system_used": manifest.disclosure.ai_system_used,
                "digital_source_type": manifest.disclosure.digital_source_type,
            },
            # a reel of an EDL has eight characters, which the takes of a series share in their names
            "cmx_3600": {"reel": manifest.attempt[:8]},
        },
    )
