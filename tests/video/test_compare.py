"""What differs from the request is said in sentences, and what was not promised is not compared."""

import pytest

from resources.requests import Expected
from resources.video.facts import VideoFacts, compare

FACTS = VideoFacts(
    width=1280,
    height=720,
    duration=4.04,
    fps=24,
    video_codec="h264",
    audio_codec="aac",
    has_audio=True,
    size_bytes=1,
    truncated=False,
    faststart=True,
    c2pa=False,
)


def test_a_clip_as_asked_for_has_no_differences() -> None:
    assert compare(FACTS, Expected()) == []
    assert compare(FACTS, Expected(width=1280, height=720, duration=4, audio=True)) == []


@pytest.mark.parametrize(
    ("facts", "expected", "sentence"),
    [
        ({}, Expected(width=720, height=1280), "the picture is 1280x720, asked for was 720x1280"),
        ({}, Expected(width=1792), "asked for was 1792x720"),
        ({}, Expected(duration=8), "it lasts 4.04 s, asked for were 8 s"),
        ({"has_audio": False, "audio_codec": None}, Expected(audio=True), "there is no sound"),
        ({}, Expected(audio=False), "there is sound (aac)"),
        ({"truncated": True}, Expected(), "the file is cut off"),
    ],
)
def test_each_difference_is_one_sentence(facts: dict[str, object], expected: Expected, sentence: str) -> None:
    (said,) = compare(FACTS.model_copy(update=facts), expected)
    assert sentence in said


def test_the_tolerance_of_the_duration_is_kept() -> None:
    assert compare(FACTS, Expected(duration=4), tolerance_seconds=0.03)
    assert compare(FACTS, Expected(duration=4.2)) == []
