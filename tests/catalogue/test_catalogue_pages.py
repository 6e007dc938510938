"""Every parameter row and example price of the providers' pages, held against the catalogue's entries."""

from pathlib import Path
from typing import Any

import pytest

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.money import show_usd

DATA = Path(__file__).parents[2] / "data"
URL = "https://example.com/a.png"
SIX_SIZES = ["720*1280", "1280*720", "1024*1792", "1792*1024", "1920*1080", "1080*1920"]
RATIOS = ["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
TO_20, TO_12, TO_15 = [4, 8, 12, 16, 20], [4, 8, 12], list(range(4, 16))

# endpoint -> (what is needed besides the prompt, page's defaults as they are sent, allowed values by parameter)
PAGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]] = {
    "openai/sora-2/text-to-video": (
        {},
        {"size": "720*1280", "duration": 4},
        {
            "size": ["720*1280", "1280*720"],
            "duration": TO_20,
            "characters": [["char_a"], ["char_a", "char_b"]],
        },
    ),
    "openai/sora-2-pro/text-to-video": (
        {},
        {"size": "1280*720", "duration": 4},
        {"size": SIX_SIZES, "duration": TO_20},
    ),
    "openai/sora-2/text-to-video-pro": (
        {},
        {"size": "720*1280", "duration": 4},
        {"size": SIX_SIZES, "duration": TO_12},
    ),
    "openai/sora-2/image-to-video": ({"image": URL}, {"duration": 4}, {"duration": TO_20}),
    "openai/sora-2/image-to-video-pro": (
        {"image": URL},
        {"resolution": "720p", "duration": 4},
        {"resolution": ["720p", "1080p"], "duration": TO_12},
    ),
    "openai/sora-2-pro/image-to-video": (
        {"image": URL},
        {"resolution": "720p", "duration": 4},
        {"resolution": ["720p", "1080p"], "duration": TO_20},
    ),
    "openai/sora-2": ({}, {"aspect_ratio": "9:16"}, {"aspect_ratio": ["9:16", "16:9"], "image": [URL]}),
    "bytedance/seedance-2.0/text-to-video": (
        {},
        {"aspect_ratio": "16:9", "duration": 5, "resolution": "720p", "generate_audio": True},
        {
            "aspect_ratio": RATIOS,
            "duration": TO_15,
            "resolution": ["480p", "720p", "1080p"],
            "generate_audio": [True, False],
            "reference_images": [[URL]],
        },
    ),
    "bytedance/seedance-2.0/image-to-video": (
        {"image": URL},
        {"duration": 5, "resolution": "720p", "generate_audio": True},
        {
            "aspect_ratio": RATIOS,
            "duration": TO_15,
            "resolution": ["480p", "720p", "1080p"],
            "generate_audio": [True, False],
            "last_image": [URL],
        },
    ),
    "openai/sora-2-t2v": (
        {},
        {"resolution": "720p", "aspect_ratio": "16:9", "duration": 4},
        {"resolution": ["720p"], "aspect_ratio": ["16:9", "9:16"], "duration": TO_12},
    ),
    "openai/sora-2-i2v": (
        {"image_url": URL},
        {"resolution": "720p", "aspect_ratio": "16:9", "duration": 4},
        {"resolution": ["720p"], "aspect_ratio": ["16:9", "9:16"], "duration": TO_12},
    ),
    "openai/sora-2-pro-t2v": (
        {},
        {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 4},
        {"resolution": ["720p", "1080p"], "aspect_ratio": ["16:9", "9:16"], "duration": TO_12},
    ),
    "openai/sora-2-pro-i2v": (
        {"image_url": URL},
        {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 4},
        {"resolution": ["720p", "1080p"], "aspect_ratio": ["16:9", "9:16"], "duration": TO_12},
    ),
    "bytedance/seedance-2-0": (
        {},
        {
            "provider": "bytedance",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": 5,
            "generate_audio": True,
            "watermark": False,
        },
        {
            "provider": ["auto", "bytedance", "fal"],
            "aspect_ratio": RATIOS,
            "resolution": ["480p", "720p", "1080p", "4k"],
            "duration": TO_15,
            "seed": [0, 7],
            "image_urls": [[URL] * 9],
        },
    ),
}
WRONG: dict[str, list[Any]] = {
    "size": ["720x1280", "7201280", "1280*720 ", 720, "720*1281"],
    "duration": [0, 3, 5.0, "4", True, 21, -4, None],
    "resolution": ["720P", "720", 720, "2k"],
    "aspect_ratio": ["9/16", 556, "2:1", ""],
    "characters": ["char_a", ["alice"], [], [1]],
    "generate_audio": ["true", 1, None],
    "image": ["../../.env", "file:///etc/passwd", "data:image/png;base64,AA", 5],
    "image_url": ["/etc/passwd", ""],
    "image_urls": [[URL] * 10, ["ftp://example.com/a"]],
    "seed": ["7", 1.5, True],
    "provider": ["Bytedance", "openai"],
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    catalogue = Catalogue.load(DATA / "models")
    assert catalogue.problems == []
    return catalogue


def test_every_endpoint_has_its_page_in_this_table(catalogue):
    assert {endpoint.id for endpoint in catalogue} == {*PAGES, "openai/sora-2/characters"}


@pytest.mark.parametrize("endpoint_id", PAGES)
def test_defaults_are_sent_explicitly_and_nothing_else(catalogue, endpoint_id):
    needed, defaults, _ = PAGES[endpoint_id]
    assert catalogue.get(endpoint_id).resolve("a prompt", needed) == {
        "prompt": "a prompt",
        **needed,
        **defaults,
    }


@pytest.mark.parametrize(
    ("endpoint_id", "name", "value"),
    [
        (page, name, value)
        for page, (_, _, rows) in PAGES.items()
        for name, values in rows.items()
        for value in values
    ],
)
def test_what_the_page_allows_is_sent_as_it_writes_it(catalogue, endpoint_id, name, value):
    needed = PAGES[endpoint_id][0]
    body = catalogue.get(endpoint_id).resolve("a prompt", {**needed, name: value})
    assert body[name] == value
    assert type(body[name]) is type(value)


@pytest.mark.parametrize(
    ("endpoint_id", "name", "value"),
    [
        (page, name, value)
        for page, (needed, _, rows) in PAGES.items()
        for name in {**needed, **rows}
        for value in WRONG.get(name, [])
    ],
)
def test_what_the_page_does_not_allow_is_refused(catalogue, endpoint_id, name, value):
    needed = PAGES[endpoint_id][0]
    with pytest.raises(ProblemsError) as refused:
        catalogue.get(endpoint_id).resolve("a prompt", {**needed, name: value})
    (problem,) = refused.value.problems
    assert problem.field == f"parameters.{name}"
    assert problem.allowed


@pytest.mark.parametrize("endpoint_id", PAGES)
def test_an_unknown_parameter_is_refused_since_providers_drop_it_in_silence(catalogue, endpoint_id):
    needed = PAGES[endpoint_id][0]
    with pytest.raises(ProblemsError, match="is not a parameter of"):
        catalogue.get(endpoint_id).resolve("a prompt", {**needed, "quality": "high"})


@pytest.mark.parametrize(
    ("endpoint_id", "parameters", "price"),
    [
        ("openai/sora-2/text-to-video", {"duration": 4}, "0.40"),
        ("openai/sora-2/text-to-video", {"duration": 8}, "0.80"),
        ("openai/sora-2/text-to-video", {"duration": 12}, "1.20"),
        ("openai/sora-2/text-to-video", {"duration": 16}, "1.60"),
        ("openai/sora-2/text-to-video", {"duration": 20}, "2.00"),
        ("openai/sora-2-pro/text-to-video", {"size": "720*1280", "duration": 4}, "1.20"),
        ("openai/sora-2-pro/text-to-video", {"size": "1280*720", "duration": 8}, "2.40"),
        ("openai/sora-2-pro/text-to-video", {"size": "1280*720", "duration": 20}, "6.00"),
        ("openai/sora-2-pro/text-to-video", {"size": "1024*1792", "duration": 4}, "2.00"),
        ("openai/sora-2-pro/text-to-video", {"size": "1792*1024", "duration": 20}, "10.00"),
        ("openai/sora-2-pro/text-to-video", {"size": "1920*1080", "duration": 4}, "2.80"),
        ("openai/sora-2-pro/text-to-video", {"size": "1080*1920", "duration": 20}, "14.00"),
        ("openai/sora-2/text-to-video-pro", {"size": "720*1280", "duration": 12}, "3.60"),
        ("openai/sora-2/image-to-video", {"image": URL, "duration": 4}, "0.40"),
        ("openai/sora-2/image-to-video-pro", {"image": URL, "resolution": "1080p", "duration": 4}, "2.00"),
        ("bytedance/seedance-2.0/text-to-video", {"duration": 5, "resolution": "720p"}, "1.20"),
        ("openai/sora-2-t2v", {"duration": 12}, "1.20"),
        ("openai/sora-2-pro-t2v", {"resolution": "720p", "duration": 4}, "1.20"),
        ("openai/sora-2-pro-t2v", {"resolution": "1080p", "duration": 12}, "6.00"),
    ],
)  # fmt: skip
def test_prices_come_out_to_the_cent(catalogue, endpoint_id, parameters, price):
    endpoint = catalogue.get(endpoint_id)
    assert show_usd(endpoint.price(endpoint.resolve("x", parameters))) == f"${price}"


def test_a_character_costs_a_tenth_of_a_cent(catalogue):
    endpoint = catalogue.get("openai/sora-2/characters")
    assert endpoint.price(endpoint.resolve("", {"video": URL, "name": "Joe"})) == 1000


@pytest.mark.parametrize(
    ("endpoint_id", "parameters"),
    [
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "1080p"}),
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "480p"}),
        ("bytedance/seedance-2.0/text-to-video", {"reference_videos": [URL]}),
        ("openai/sora-2/text-to-video-pro", {"size": "1920*1080"}),
        ("openai/sora-2", {}),
        ("bytedance/seedance-2-0", {}),
    ],
)
def test_a_price_no_page_names_is_unknown_and_not_zero(catalogue, endpoint_id, parameters):
    endpoint = catalogue.get(endpoint_id)
    assert endpoint.price(endpoint.resolve("x", parameters)) is None


@pytest.mark.parametrize(
    ("endpoint_id", "parameters", "expected"),
    [
        ("openai/sora-2/text-to-video", {}, (720, 1280, 4, True)),
        ("openai/sora-2-pro/text-to-video", {"size": "1792*1024", "duration": 8}, (1792, 1024, 8, True)),
        ("openai/sora-2-pro-t2v", {}, (1792, 1024, 4, True)),
        ("openai/sora-2-pro-t2v", {"aspect_ratio": "9:16"}, (1024, 1792, 4, True)),
        ("openai/sora-2-t2v", {"aspect_ratio": "9:16"}, (720, 1280, 4, True)),
        ("openai/sora-2/image-to-video", {"image": URL}, (None, None, 4, True)),
        ("bytedance/seedance-2.0/text-to-video", {"generate_audio": False}, (None, None, 5, False)),
        ("openai/sora-2", {}, (None, None, None, True)),
    ],
)
def test_what_the_file_must_look_like_follows_from_the_request(catalogue, endpoint_id, parameters, expected):
    endpoint = catalogue.get(endpoint_id)
    found = endpoint.expected(endpoint.resolve("x", parameters))
    assert (found.width, found.height, found.duration, found.audio) == expected


def test_a_price_that_is_not_the_providers_own_says_so(catalogue):
    bounds = {endpoint.id for endpoint in catalogue if endpoint.pricing.basis == "upper_bound"}
    assert bounds == {
        "openai/sora-2-t2v",
        "openai/sora-2-i2v",
        "openai/sora-2-pro-t2v",
        "openai/sora-2-pro-i2v",
    }


def test_sora_is_retired_everywhere_and_names_what_to_use_instead(catalogue):
    instead = {"wavespeed": "bytedance/seedance-2.0/text-to-video", "aimlapi": "bytedance/seedance-2-0"}
    for endpoint in catalogue:
        if endpoint.id.startswith("openai/"):
            assert endpoint.lifecycle.status == "retired"
            assert str(endpoint.lifecycle.sunset_at) == "2026-09-24"
            if endpoint.makes_video:
                kind = "text-to-video" if endpoint.id == "openai/sora-2" else endpoint.kind
                expected = instead[endpoint.provider].replace("text-to-video", kind)
                assert endpoint.lifecycle.replacement == expected
        else:
            assert endpoint.lifecycle.status == "live"
