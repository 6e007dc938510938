"""The keys of the bucket are those of the design, and no foreign text gets into one."""

import pytest

from resources.storage import layout


def test_the_keys_are_where_the_docs_say() -> None:
    assert layout.prompt_key("city-sunset", "ab12") == "prompts/city-sunset/ab12.json"
    assert layout.video_key("city-sunset", "a1") == "videos/city-sunset/a1.mp4"
    assert layout.poster_key("city-sunset", "a1") == "videos/city-sunset/a1.webp"
    assert layout.manifest_key("city-sunset", "a1") == "videos/city-sunset/a1.json"
    assert layout.current_key("city-sunset") == "videos/city-sunset/current.json"
    assert layout.ledger_key() == "ledger.json"


@pytest.mark.parametrize(
    "attempt", ["", "../x", "a/b", "a b", "video_abc:openai/sora", "current", ".hidden", "a\n"]
)
def test_an_attempt_that_is_not_a_plain_name_makes_no_key(attempt: str) -> None:
    with pytest.raises(ValueError, match="attempt"):
        layout.video_key("city-sunset", attempt)


@pytest.mark.parametrize("clip", ["", "ab", "City", "a/b/c", "..", "x" * 81, "abc\n"])
def test_a_clip_that_is_not_a_partition_makes_no_key(clip: str) -> None:
    with pytest.raises(ValueError, match="clip"):
        layout.current_key(clip)


def test_manifests_are_recognised_among_the_keys_of_a_listing() -> None:
    assert layout.manifest_of(layout.manifest_key("city-sunset", "a1")) == ("city-sunset", "a1")
    for key in (
        layout.current_key("city-sunset"),
        layout.video_key("city-sunset", "a1"),
        layout.prompt_key("city-sunset", "a1"),
        "videos/a/b/c.json",
    ):
        assert layout.manifest_of(key) is None
