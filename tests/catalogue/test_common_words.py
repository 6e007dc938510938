"""Common parameters, written in one way for all endpoints, become each endpoint's own, or are refused with the nearest value."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_facts import PAGES, needed

from resources.catalogue import Catalogue
from resources.catalogue.codecs import COMMON, nearest_shape
from resources.declared.problems import ProblemsError

DATA = Path(__file__).parents[2] / "data"
URL = "https://example.com/a.png"
CATALOGUE = Catalogue.load(DATA / "models")
PRO, SORA = "openai/sora-2-pro/text-to-video", "openai/sora-2/text-to-video"


@pytest.mark.parametrize(
    ("page", "said", "own"),
    [
        (PRO, {"resolution": "1080p"}, {"size": "1920*1080"}),
        (PRO, {"resolution": "1080p", "aspect_ratio": "9:16"}, {"size": "1080*1920"}),
        (PRO, {"resolution": "1024p", "aspect_ratio": "16:9"}, {"size": "1792*1024"}),
        (PRO, {"aspect_ratio": "9:16"}, {"size": "720*1280"}),
        (PRO, {"size": "1024*1792"}, {"size": "1024*1792"}),
        (SORA, {"aspect_ratio": "16:9"}, {"size": "1280*720"}),
        (SORA, {"resolution": "720p"}, {"size": "720*1280"}),
        (SORA, {"duration": 12}, {"duration": 12}),
        (SORA, {"characters": ["char_a"]}, {"characters": ["char_a"]}),
        ("openai/sora-2-i2v", {"image": URL}, {"image_url": URL}),
        ("openai/sora-2-i2v", {"image_url": URL}, {"image_url": URL}),
        ("openai/sora-2/image-to-video", {"image": URL}, {"image": URL}),
        ("openai/sora-2-pro-t2v", {"resolution": "1024p"}, {"resolution": "1080p"}),
        ("openai/sora-2-pro-t2v", {"resolution": "1080p"}, {"resolution": "1080p"}),
        ("openai/sora-2-t2v", {"resolution": "720p", "aspect_ratio": "9:16"}, {"aspect_ratio": "9:16"}),
        ("bytedance/seedance-2-0", {"image": URL, "seed": 7}, {"image_url": URL, "seed": 7}),
        ("bytedance/seedance-2.0/text-to-video", {"aspect_ratio": "21:9"}, {"aspect_ratio": "21:9"}),
    ],
)
def test_common_parameters_become_the_endpoints_own(page, said, own):
    body = CATALOGUE.get(page).resolve("x", {**({} if "image" in str(said) else needed(PAGES[page])), **said})
    assert own.items() <= body.items()
    assert set(body) <= set(CATALOGUE.get(page).parameters)


@pytest.mark.parametrize(
    ("page", "said", "field", "says"),
    [
        (PRO, {"resolution": "4k"}, "resolution", "found '4k', allowed: '720p', '1024p', '1080p' - nearest:"),
        (
            PRO,
            {"resolution": "2160p"},
            "resolution",
            "nearest: resolution 1080p, aspect_ratio '16:9' (size 1920*1080)",
        ),
        (
            SORA,
            {"resolution": "1080p"},
            "resolution",
            "nearest: resolution 720p, aspect_ratio '9:16' (size 720*1280)",
        ),
        (SORA, {"aspect_ratio": "1:1"}, "aspect_ratio", "allowed: '9:16', '16:9' - nearest:"),
        (PRO, {"aspect_ratio": "21:9", "resolution": "1080p"}, "aspect_ratio", "(size 1920*1080)"),
        (PRO, {"resolution": 1080}, "resolution", "found 1080, allowed: '720p', '1024p', '1080p'"),
        (PRO, {"resolution": "1080p", "size": "1920*1080"}, "resolution", "both choose the frame; keep one"),
        (SORA, {"duration": 5}, "duration", "found 5, allowed: 4, 8, 12, 16, 20 - nearest: 4"),
        (SORA, {"duration": 15}, "duration", "nearest: 16"),
        ("bytedance/seedance-2.0/text-to-video", {"duration": 60}, "duration", "from 4 to 15 - nearest: 15"),
        ("bytedance/seedance-2.0/text-to-video", {"duration": 1}, "duration", "nearest: 4"),
        (SORA, {"image": URL}, "image", "cannot be given to openai/sora-2/text-to-video"),
        (SORA, {"seed": 7}, "seed", "cannot be chosen for openai/sora-2/text-to-video"),
        (
            "openai/sora-2-t2v",
            {"characters": ["char_a"]},
            "characters",
            "openai/sora-2-t2v shows no characters",
        ),
        (
            "openai/sora-2/image-to-video",
            {"image": URL, "resolution": "720p"},
            "resolution",
            "follows the image",
        ),
        (
            "openai/sora-2-i2v",
            {"image": URL, "image_url": URL},
            "image_url",
            "means the same as 'image'; keep one",
        ),
        (
            "openai/sora-2-i2v",
            {"image": "ftp://x/y"},
            "image",
            "an address that begins with https:// or http://",
        ),
    ],
)
def test_unavailable_values_are_refused_with_the_nearest_ones(page, said, field, says):
    with pytest.raises(ProblemsError) as refused:
        CATALOGUE.get(page).resolve("x", said)
    (problem,) = refused.value.problems
    assert problem.field == f"parameters.{field}"
    assert says in str(problem)


def test_an_existing_shape_and_resolution_may_not_exist_together(tmp_path):
    entry = (DATA / "models" / "wavespeed-sora-2-pro-text-to-video.yaml").read_text()
    entry = entry.replace(', "1080*1920"]', "]").replace('    "1080*1920": "0.70"\n', "")
    (tmp_path / "a.yaml").write_text(
        entry.replace("  replacement: bytedance/seedance-2.0/text-to-video\n", "")
    )
    catalogue = Catalogue.load(tmp_path)
    with pytest.raises(ProblemsError, match=r"720p 9:16.*nearest: resolution 1024p, aspect_ratio '9:16'"):
        catalogue.get(PRO).resolve("x", {"resolution": "1080p", "aspect_ratio": "9:16"})


def test_the_schemas_for_editors_have_the_common_parameters_too():
    words = CATALOGUE.get(PRO).common_words
    assert words["resolution"].allowed == ["720p", "1024p", "1080p"]
    assert set(words["aspect_ratio"].allowed or ()) == {"16:9", "9:16"}
    assert set(CATALOGUE.get("openai/sora-2-i2v").common_words) == {"image"}


@given(
    page=st.sampled_from(sorted(PAGES)),
    said=st.dictionaries(
        st.sampled_from([*COMMON, "size", "image_url", "prompt", "nonsense"]),
        st.one_of(
            st.sampled_from(["720p", "1080p", "16:9", "9:16", URL, "4k", "1920*1080", "../../.env"]),
            st.sampled_from([["char_a"], [], 4, 8, 0, -1, 10**30, True, None, 1.5, float("inf")]),
            st.text(max_size=20),
        ),
        max_size=6,
    ),
)
def test_no_parameters_raise_anything_but_problems_or_send_what_the_page_lacks(page, said):
    endpoint = CATALOGUE.get(page)
    try:
        body = endpoint.resolve("x", said)
    except ProblemsError as error:
        problems, body = error.problems, {}
    else:
        problems = ()
    assert all(problem.field.startswith("parameters.") for problem in problems)
    assert all(endpoint.parameters[name].problem(value) is None for name, value in body.items())


@given(resolution=st.text(max_size=9), ratio=st.text(max_size=9))
def test_there_is_always_a_nearest_frame(resolution, ratio):
    shapes = CATALOGUE.get(PRO).codec.shapes(CATALOGUE.get(PRO))
    assert nearest_shape(shapes, resolution, ratio) in shapes
