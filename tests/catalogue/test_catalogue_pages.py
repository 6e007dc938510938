"""Every parameter row and example price of the providers' pages, compared with the catalogue's entries."""

from pathlib import Path
from typing import Any

import pytest
from page_facts import PAGES, RETIRED_ON, allowed_values, needed, wrong_values
from page_rows import Row

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.money import show_usd, usd

DATA = Path(__file__).parents[2] / "data"
URL = "https://example.com/a.png"


def rows_of(page: str) -> list[Row]:
    """The parameters of a page; a prompt is given apart."""
    return [row for row in PAGES[page].rows if row.name != "prompt"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    catalogue = Catalogue.load(DATA / "models")
    assert catalogue.problems == []
    return catalogue


def test_every_endpoint_has_its_page_in_the_list_of_facts(catalogue):
    listed = {page.provider for page in PAGES.values()}  # other providers have their own lists
    assert {e.id: (e.provider, e.kind) for e in catalogue if e.provider in listed} == {
        name: (page.provider, page.kind) for name, page in PAGES.items()
    }


@pytest.mark.parametrize("page", PAGES)
def test_parameters_equal_their_rows(catalogue, page):
    for row in PAGES[page].rows:
        parameter = catalogue.get(page).parameters[row.name]
        found = (parameter.type, parameter.required, parameter.default)
        assert found == (row.type, row.required, row.default), row.name


@pytest.mark.parametrize("page", PAGES)
def test_an_entry_has_no_parameter_that_its_page_lacks(catalogue, page):
    assert set(catalogue.get(page).parameters) == {row.name for row in PAGES[page].rows}


@pytest.mark.parametrize("page", PAGES)
def test_defaults_are_sent_explicitly_and_nothing_else(catalogue, page):
    facts = PAGES[page]
    defaults = {row.name: row.default for row in facts.rows if row.default is not None}
    prompt = {"prompt": "a prompt"} if facts.rows[0].name == "prompt" or facts.kind != "video-to-text" else {}
    expected = {**prompt, **needed(facts), **defaults, **dict(facts.ours)}
    assert catalogue.get(page).resolve("a prompt", needed(facts)) == expected


@pytest.mark.parametrize("page", PAGES)
def test_allowed_values_are_sent_as_the_page_writes_them(catalogue, page):
    for name, value in ((row.name, value) for row in rows_of(page) for value in allowed_values(row)):
        body = catalogue.get(page).resolve("a prompt", {**needed(PAGES[page]), name: value})
        assert body[name] == value
        assert type(body[name]) is type(value), name


@pytest.mark.parametrize("page", PAGES)
def test_values_that_the_page_does_not_allow_are_refused_with_the_allowed_ones(catalogue, page):
    for name, value in (
        (row.name, value)
        for row in rows_of(page)
        for value in wrong_values(row)
        if not any(type(fine) is type(value) and fine == value for fine in allowed_values(row))
    ):
        try:
            catalogue.get(page).resolve("a prompt", {**needed(PAGES[page]), name: value})
        except ProblemsError as refused:
            (problem,) = refused.problems
            assert problem.field == f"parameters.{name}"
            assert problem.allowed or "data folder" in problem.message
        else:
            pytest.fail(f"{name}: {value!r} was accepted")


@pytest.mark.parametrize("page", PAGES)
def test_an_unknown_parameter_is_refused_since_providers_drop_it_silently(catalogue, page):
    with pytest.raises(ProblemsError, match="is not a parameter of"):
        catalogue.get(page).resolve("a prompt", {**needed(PAGES[page]), "quality": "high"})


@pytest.mark.parametrize(
    ("page", "parameters", "price"),
    [(page, given, price) for page, facts in PAGES.items() for given, price in facts.examples],
)
def test_prices_equal_the_pages_to_the_cent(catalogue, page, parameters, price):
    endpoint = catalogue.get(page)
    body = endpoint.resolve("x", {**needed(PAGES[page]), **parameters})
    assert show_usd(endpoint.price(body)) == f"${price}"


@pytest.mark.parametrize(
    ("page", "starts_at"), [(name, page.starts_at) for name, page in PAGES.items() if page.starts_at]
)
def test_the_cheapest_price_is_the_one_the_family_page_starts_at(catalogue, page, starts_at):
    endpoint = catalogue.get(page)
    durations = endpoint.parameters["duration"].allowed if "duration" in endpoint.parameters else [None]
    choices: list[Any] = [None]
    if endpoint.pricing.by:
        choices = endpoint.parameters[endpoint.pricing.by].allowed
    prices = set()
    for duration in durations:
        for choice in choices:
            given = {"duration": duration, endpoint.pricing.by: choice}
            given = {name: value for name, value in given.items() if name and value is not None}
            prices.add(endpoint.price(endpoint.resolve("x", {**needed(PAGES[page]), **given})))
    assert min(price for price in prices if price is not None) == usd(starts_at)


@pytest.mark.parametrize(
    ("page", "parameters"),
    [
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "1080p"}),
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "480p"}),
        ("bytedance/seedance-2.0/text-to-video", {"reference_videos": [URL]}),
        ("bytedance/seedance-2.0/image-to-video", {"image": URL, "resolution": "1080p"}),
        ("openai/sora-2/text-to-video-pro", {"size": "1920*1080"}),
        ("openai/sora-2", {}),
        ("bytedance/seedance-2-0", {}),
    ],
)
def test_a_price_no_page_names_is_unknown_and_not_zero(catalogue, page, parameters):
    endpoint = catalogue.get(page)
    assert endpoint.price(endpoint.resolve("x", parameters)) is None


@pytest.mark.parametrize(
    ("page", "parameters", "expected"),
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
def test_the_expected_frame_follows_from_the_request(catalogue, page, parameters, expected):
    endpoint = catalogue.get(page)
    found = endpoint.expected(endpoint.resolve("x", parameters))
    assert (found.width, found.height, found.duration, found.audio) == expected


def test_if_no_page_gives_the_pixels_only_the_shape_is_expected(catalogue):
    seedance = catalogue.get("bytedance/seedance-2.0/text-to-video")
    assert seedance.expected(seedance.resolve("x", {})).shape == "16:9"
    assert seedance.expected(seedance.resolve("x", {"aspect_ratio": "9:16"})).shape == "9:16"
    sora = catalogue.get("openai/sora-2/text-to-video")
    assert sora.expected(sora.resolve("x", {})).shape is None


def test_a_price_that_is_not_the_providers_own_says_so(catalogue):
    listed = {page.provider for page in PAGES.values()}
    bounds = {e.id for e in catalogue if e.pricing.basis == "upper_bound" and e.provider in listed}
    assert bounds == {
        page for page in PAGES if page.startswith("openai/") and page.endswith(("-t2v", "-i2v"))
    }


def test_sora_is_retired_everywhere_and_names_what_to_use_instead(catalogue):
    for endpoint in catalogue:
        if not endpoint.id.startswith("openai/"):
            assert endpoint.lifecycle.status == "live"
            continue
        assert endpoint.lifecycle.status == "retired"
        assert str(endpoint.lifecycle.sunset_at) == RETIRED_ON
        if endpoint.makes_video:
            instead = catalogue.get(endpoint.lifecycle.replacement, endpoint.provider)
            assert instead.lifecycle.status == "live"
            assert instead.kind == endpoint.kind or endpoint.provider == "aimlapi"
