"""Timelines of takes whose frame rates are not those of television."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resources.export.timeline import write_timelines
from resources.video.facts import PlayedTrack, VideoFacts

otio = pytest.importorskip("opentimelineio")


def a_take(name: str, **facts: Any) -> Any:
    values: dict[str, Any] = {
        "width": 320,
        "height": 180,
        "duration": 5.0,
        "fps": 24.0,
        "video_codec": "h264",
        "audio_codec": "aac",
        "has_audio": True,
        "size_bytes": 10,
        "truncated": False,
        "faststart": True,
        "c2pa": False,
    }
    manifest = SimpleNamespace(
        clip=name,
        attempt="a1",
        video=VideoFacts(**(values | facts)) if facts.get("fps", 24) else None,
        object=SimpleNamespace(sha256="0" * 64),
        disclosure=SimpleNamespace(ai_system_used="a model", digital_source_type="generated"),
    )
    return SimpleNamespace(
        take=SimpleNamespace(number=1), file=f"bay/undated/{name}-take1.mp4", manifest=manifest
    )


def read(made: Any, name: str, adapter: str, **options: Any) -> Any:
    return otio.adapters.read_from_string(made.files[name].decode(), adapter, **options)


def test_the_picture_and_not_the_sound_decides_the_length_of_a_clip(tmp_path: Path) -> None:
    # a file's average rate is rounded, and its sound ends later than its picture
    take = a_take("bay-ntsc", fps=23.98, duration=4.02, picture=PlayedTrack(start=0, end=4.004))
    made = write_timelines("bay", [take], tmp_path)
    (clip,) = read(made, "timeline.otio", "otio_json").tracks[0]
    assert clip.duration() == otio.opentime.RationalTime(96, 24000 / 1001)
    assert made.left_out == []


def test_a_rate_without_timecode_is_kept_and_a_format_that_cannot_express_it_is_named(tmp_path: Path) -> None:
    made = write_timelines("bay", [a_take("bay-slow", fps=16.0), a_take("bay-fast", fps=30.0)], tmp_path)
    slow, fast = read(made, "timeline.otio", "otio_json").tracks[0]
    assert (slow.duration(), fast.duration()) == (
        otio.opentime.RationalTime(80, 16),
        otio.opentime.RationalTime(150, 30),
    )
    assert list(made.files) == ["timeline.otio", "timeline.edl"]
    (named,) = made.left_out
    assert named.startswith("timeline.xml was not written: ")


def test_a_clip_of_unknown_length_is_left_out_and_named(tmp_path: Path) -> None:
    made = write_timelines("bay", [a_take("bay-odd", fps=0), a_take("bay-dawn", has_audio=False)], tmp_path)
    (track,) = read(made, "timeline.otio", "otio_json").tracks
    assert [clip.name for clip in track] == ["bay-dawn-take1"]
    assert made.left_out == ["bay/undated/bay-odd-take1.mp4 is not in the timeline: its length is unknown"]
    assert write_timelines("bay", [a_take("bay-odd", fps=0)], tmp_path).files == {}
