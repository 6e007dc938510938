"""Differences from the order are sentences, nothing unpromised is compared, and the series decides the effect of a check."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.checks import Checks
from resources.orders import ClipRequest, Expected
from resources.video.facts import Inspection, Looked, VideoFacts
from resources.video.judge import Check, Sibling, judge, unreadable

FACTS: dict[str, Any] = {
    "width": 1280,
    "height": 720,
    "duration": 4.04,
    "fps": 24,
    "video_codec": "h264",
    "audio_codec": "aac",
    "has_audio": True,
    "size_bytes": 1,
    "truncated": False,
    "faststart": True,
    "c2pa": False,
}
SEEN: dict[str, Any] = {"seconds": 4.04}
LOOK = "0123456789abcdef" + "80" * 6


def inspection(*, facts: dict[str, Any] | None = None, **seen: Any) -> Inspection:
    return Inspection(
        VideoFacts(**(FACTS | (facts or {}))), None, None, Looked(**({"seconds": 4.04, **seen}))
    )


def a_request(checks: dict[str, Any] | None = None, **expected: Any) -> ClipRequest:
    return ClipRequest(
        clip="a-clip",
        series="a-series",
        provider="wavespeed",
        endpoint="openai/sora-2/text-to-video",
        body={},
        price_micros=0,
        expected=Expected(**expected),
        checks=Checks(**(checks or {})),
    )


def minded(found: list[Check]) -> dict[str, str]:
    return {check.name: check.outcome for check in found if check.outcome in {"warned", "failed"}}


def test_a_clip_as_ordered_passes_and_unpromised_properties_are_skipped() -> None:
    found = judge(inspection(), a_request())
    assert minded(found) == {}
    assert {c.name for c in found if c.outcome == "skipped"} == {
        "size",
        "duration",
        "frame_rate",
        "audio",
        "coverage",
        "model",
        "nsfw",
        "credentials",
        "duplicate",
    }
    promised = a_request(width=1280, height=720, duration=4, audio=True, fps=24)
    assert minded(judge(inspection(look=LOOK * 6), promised, served=promised.endpoint, nsfw=False)) == {}


@pytest.mark.parametrize(
    ("facts", "expected", "check", "sentence"),
    [
        ({}, {"width": 720, "height": 1280}, "size", "the picture is 1280x720, asked for was 720x1280"),
        ({}, {"width": 1792}, "size", "asked for was 1792x720"),
        ({}, {"shape": "9:16"}, "size", "the picture is 1280x720, asked for was 9:16"),
        ({"width": 320, "height": 240}, {"shape": "16:9"}, "size", "is 320x240, asked for was 16:9"),
        ({}, {"duration": 8}, "duration", "it lasts 4.04 s, asked for were 8 s"),
        ({}, {"fps": 30}, "frame_rate", "it has 24 frames a second, asked for were 30"),
        ({"has_audio": False, "audio_codec": None}, {"audio": True}, "audio", "there is no sound"),
        ({}, {"audio": False}, "audio", "there is sound (aac)"),
        ({"truncated": True}, {}, "whole", "the file is cut off"),
        ({"video_codec": "mpeg4"}, {}, "codecs", "picture's codec mpeg4 is not one of h264, hevc, av1, vp9"),
        ({"audio_codec": "ac3"}, {}, "codecs", "sound's codec ac3 is not one of aac, mp3, opus"),
    ],
)
def test_each_difference_is_one_sentence(
    facts: dict[str, Any], expected: dict[str, Any], check: str, sentence: str
) -> None:
    (said,) = [
        c for c in judge(inspection(facts=facts), a_request(**expected)) if c.outcome in {"warned", "failed"}
    ]
    assert said.name == check
    assert sentence in said.detail


@pytest.mark.parametrize(
    ("shape", "frame"),
    [
        ("16:9", (1280, 720)),
        ("16:9", (864, 496)),
        ("21:9", (992, 432)),
        ("1:1", (640, 640)),
        ("3:4", (834, 1112)),
    ],
)
def test_a_frame_of_unknown_pixels_is_compared_by_shape(shape: str, frame: tuple[int, int]) -> None:
    width, height = frame
    (size,) = [
        c
        for c in judge(inspection(facts={"width": width, "height": height}), a_request(shape=shape))
        if c.name == "size"
    ]
    assert size.outcome == "passed"
    turned = judge(inspection(facts={"width": height, "height": width}), a_request(shape=shape))
    assert minded(turned) == ({} if width == height else {"size": "failed"})
    assert minded(judge(inspection(), a_request(shape="9:16", width=1280, height=720))) == {}


def test_differences_within_the_tolerances_pass() -> None:
    assert minded(judge(inspection(), a_request(duration=4))) == {}
    assert minded(judge(inspection(), a_request({"duration_seconds": 0.03}, duration=4))) == {
        "duration": "failed"
    }
    assert minded(judge(inspection(facts={"fps": 23.976}), a_request(fps=24))) == {}
    assert minded(judge(inspection(), a_request({"fps": 30.0}, fps=24))) == {"frame_rate": "warned"}


@pytest.mark.parametrize(
    ("name", "seen", "most"),
    [("black", "black", 2.0), ("frozen", "frozen", 3.0), ("silence", "silent", 5.0)],
)
def test_a_stretch_may_last_up_to_its_limit(name: str, seen: str, most: float) -> None:
    facts = {"duration": 12.0}
    at = {"seconds": 12.0}
    assert minded(judge(inspection(facts=facts, **at, **{seen: (1.0, 1.0 + most)}), a_request())) == {}
    found = judge(inspection(facts=facts, **at, **{seen: (1.0, 1.1 + most)}), a_request())
    (said,) = [c for c in found if c.outcome == "failed"]
    assert (said.name, said.measured) == (
        name,
        {"longest_seconds": round(most + 0.1, 3), "from_seconds": 1.0},
    )
    assert f"for {most + 0.1:.1f} s, from 1.0 s on; at most {most:.1f} s" in said.detail
    strict = a_request({f"{name}_seconds": 0.5})
    assert minded(judge(inspection(facts=facts, **at, **{seen: (1.0, 1.6)}), strict)) == {name: "failed"}


def test_a_clip_shorter_than_a_stretch_may_last_fails_when_all_of_it_is_bad() -> None:
    facts = {"duration": 1.5}
    found = judge(inspection(facts=facts, seconds=1.5, black=(0.0, 1.5)), a_request())
    assert minded(found) == {"black": "failed"}


def test_silence_can_be_allowed_and_a_clip_without_sound_is_not_silent() -> None:
    silent: dict[str, Any] = {"silent": (0.0, 4.04)}
    assert minded(judge(inspection(**silent), a_request())) == {"silence": "failed"}
    assert minded(judge(inspection(**silent), a_request({"silence": "allowed"}))) == {}
    assert minded(judge(inspection(facts={"has_audio": False}), a_request())) == {}


@pytest.mark.parametrize("level", ["off", "warn", "fail"])
def test_the_series_decides_the_effect_of_each_check(level: str) -> None:
    wrong = inspection(
        facts={"width": 8, "fps": 5, "duration": 40.0, "video_codec": "mpeg4"},
        seconds=40.0,
        black=(0.0, 10.0),
        frozen=(10.0, 20.0),
        silent=(0.0, 40.0),
        look=LOOK * 6,
    )
    names = (
        "size",
        "duration",
        "frame_rate",
        "codecs",
        "silence",
        "black",
        "frozen",
        "model",
        "nsfw",
        "duplicate",
    )
    request = a_request(dict.fromkeys(names, level), width=1280, height=720, duration=4, fps=24)
    found = judge(
        wrong, request, served="another/model", nsfw=True, siblings=[Sibling("twin", LOOK * 6, True)]
    )
    outcome = {"off": "skipped", "warn": "warned", "fail": "failed"}[level]
    assert {c.name: c.outcome for c in found if c.name in names} == dict.fromkeys(names, outcome)


def test_a_broken_file_fails_whatever_the_series_says() -> None:
    everything_off = dict.fromkeys(("size", "duration", "black", "frozen", "silence"), "off")
    found = judge(inspection(broken="decoding it stops after 1.20 s"), a_request(everything_off))
    assert minded(found) == {"whole": "failed"}
    assert unreadable("x.mp4: nonsense") == [Check(name="whole", outcome="failed", detail="x.mp4: nonsense")]


def test_uninspected_parts_are_not_called_good() -> None:
    found = judge(inspection(facts={"duration": 60.0}, seconds=20.0), a_request())
    assert minded(found) == {"black": "warned", "frozen": "warned", "silence": "warned"}
    assert "only the first 20 s of 60 s were looked at" in found[-5].detail


FROM_TO = [(0.0, 8.0), (0.0, 7.1), (0.9, 8.0)]


@pytest.mark.parametrize("span", FROM_TO)
def test_a_track_may_be_missing_for_a_second(span: tuple[float, float]) -> None:
    for name in ("picture", "sound"):
        tracks = {"picture": {"start": 0, "end": 8}, "sound": {"start": 0, "end": 8}}
        facts = {"duration": 8.0, **tracks, name: {"start": span[0], "end": span[1]}}
        assert minded(judge(inspection(facts=facts, seconds=8.0), a_request())) == {}


@pytest.mark.parametrize(
    ("track", "missing"),
    [
        ({"start": 0, "end": 6.8}, "from 6.8 s to 8.0 s"),
        ({"start": 1.2, "end": 8}, "from 0.0 s to 1.2 s"),
        ({"start": 0, "end": 8, "gap": (2.0, 6.0), "missing_seconds": 4.0}, "from 2.0 s to 6.0 s"),
        ({"start": 0.5, "end": 7.5, "gap": (3.0, 3.9), "missing_seconds": 1.7}, "from 3.0 s to 3.9 s"),
        ({"start": 0, "end": 0.02}, "from 0.0 s to 8.0 s"),
    ],
    ids=["ends early", "begins late", "has a hole", "has holes", "is one frame"],
)
def test_a_track_that_is_missing_for_longer_is_reported_with_its_place(
    track: dict[str, Any], missing: str
) -> None:
    whole = {"start": 0, "end": 8}
    for name, other in (("picture", "sound"), ("sound", "picture")):
        facts = {"duration": 8.0, name: track, other: whole}
        (said,) = [
            c
            for c in judge(inspection(facts=facts, seconds=8.0), a_request())
            if c.outcome in {"warned", "failed"}
        ]
        assert (said.name, said.outcome) == ("coverage", "failed")
        assert f"there is no {name} for " in said.detail
        assert f"s of 8.0 s, longest {missing}" in said.detail
        assert minded(judge(inspection(facts=facts, seconds=8.0), a_request({"coverage": "warn"}))) == {
            "coverage": "warned"
        }


def test_sound_may_be_missing_where_silence_is_allowed() -> None:
    facts = {"duration": 8.0, "picture": {"start": 0, "end": 8}, "sound": {"start": 0, "end": 1}}
    silent = {"seconds": 8.0, "silent": (1.0, 8.0)}
    assert minded(judge(inspection(facts=facts, **silent), a_request({"silence": "allowed"}))) == {}
    assert minded(judge(inspection(facts=facts, **silent), a_request())) == {
        "coverage": "failed",
        "silence": "failed",
    }


def test_bytes_after_the_end_are_a_warning_and_never_hide_a_damage() -> None:
    (said,) = [c for c in judge(inspection(facts={"trailing_bytes": 1}), a_request()) if c.name == "whole"]
    assert (said.outcome, said.measured) == ("warned", {"trailing_bytes": 1})
    damaged = inspection(facts={"trailing_bytes": 1, "truncated": True})
    assert minded(judge(damaged, a_request())) == {"whole": "failed"}


def test_another_model_than_ordered_is_reported() -> None:
    found = judge(inspection(), a_request(), served="openai/sora-2-lite")
    (said,) = [c for c in found if c.outcome == "failed"]
    assert said.detail == "openai/sora-2-lite made it, and openai/sora-2/text-to-video was bought"
    assert minded(judge(inspection(), a_request(), served="OpenAI/sora-2/Text-to-video")) == {}


@given(
    facts=st.fixed_dictionaries(
        {},
        optional={
            "width": st.integers(1, 10_000),
            "duration": st.floats(0.01, 10_000),
            "fps": st.floats(0.01, 1000),
            "has_audio": st.booleans(),
            "truncated": st.booleans(),
        },
    ),
    stretch=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    nsfw=st.none() | st.booleans(),
)
def test_every_clip_gets_one_outcome_per_check(
    facts: dict[str, Any], stretch: tuple[float, float], nsfw: bool | None
) -> None:
    found = judge(inspection(facts=facts, black=stretch, silent=stretch), a_request(duration=4), nsfw=nsfw)
    names = [check.name for check in found]
    assert len(names) == len(set(names)) == 14
    assert all(check.detail for check in found if check.outcome in {"warned", "failed", "skipped"})
