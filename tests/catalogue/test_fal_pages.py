"""Facts of fal's model pages, row by row: a third list, with which the catalogue and the sandbox are compared."""

from pathlib import Path
from typing import Any

import pytest

from resources.catalogue import Catalogue
from resources.catalogue.endpoint import Endpoint
from resources.money import usd
from resources.sandbox.endpoints import SandboxEndpoint, load_endpoints

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
URL = "https://example.com/a.png"
RATIOS = ["auto", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
TO_10, TO_15, TO_30 = ["6", "10"], [str(n) for n in range(4, 16)], [str(n) for n in range(4, 31)]

Row = tuple[str, Any, list[Any] | None]
"""A parameter's type, default and allowed values; `required` instead of a default."""
NEEDED = "required"


def seedance(lengths: list[str], resolutions: list[str], *, image: bool = False) -> dict[str, Row]:
    pictures: dict[str, Row] = {
        "image_url": ("string", NEEDED, None),
        "end_image_url": ("string", None, None),
    }
    return {
        "prompt": ("string", NEEDED, None),
        **(pictures if image else {}),
        "resolution": ("string", "720p", resolutions),
        "duration": ("string", "auto", ["auto", *lengths]),
        "aspect_ratio": ("string", "auto", RATIOS),
        "generate_audio": ("boolean", True, None),
        "seed": ("integer", None, None),
    }


def hailuo(*, image: bool = False) -> dict[str, Row]:
    return {
        "prompt": ("string", NEEDED, None),
        **({"image_url": ("string", NEEDED, None)} if image else {}),
        "prompt_optimizer": ("boolean", True, None),
        "duration": ("string", "6", TO_10),
    }


FINISH = "bytedance/seedance-2.5/draft/complete"
PAGES: dict[str, tuple[dict[str, Row], list[tuple[dict[str, Any], str]]]] = {
    "bytedance/seedance-2.0/text-to-video": (
        seedance(TO_15, ["480p", "720p"]),
        [({"duration": "10", "resolution": "720p"}, "3.034")],
    ),
    "bytedance/seedance-2.0/image-to-video": (
        seedance(TO_15, ["480p", "720p", "1080p"], image=True),
        [({"duration": "10", "resolution": "720p"}, "3.024")],
    ),
    FINISH: (
        {
            "draft_id": ("string", NEEDED, None),
            "resolution": ("string", "1080p", ["1080p"]),
            "codec": ("string", "auto", ["auto", "H264", "H265"]),
        },
        [],
    ),
    "bytedance/seedance-2.5/text-to-video": (
        {**seedance(TO_30, ["480p", "720p"]), "draft": ("boolean", False, None)},
        [
            ({"duration": "30", "resolution": "720p"}, "14.19"),
            ({"duration": "4", "resolution": "480p"}, "0.882"),
        ],
    ),
    "bytedance/seedance-2.5/image-to-video": (
        {**seedance(TO_30, ["480p", "720p"], image=True), "draft": ("boolean", False, None)},
        [({"duration": "10", "resolution": "720p"}, "4.73")],
    ),
    "fal-ai/kling-video/v3/standard/text-to-video": (
        {
            "prompt": ("string", NEEDED, None),
            "duration": ("string", "5", [str(n) for n in range(3, 16)]),
            "generate_audio": ("boolean", True, None),
            "aspect_ratio": ("string", "16:9", ["16:9", "9:16", "1:1"]),
            "negative_prompt": ("string", "blur, distort, and low quality", None),
        },
        [({"duration": "5"}, "0.63"), ({"duration": "5", "generate_audio": False}, "0.42")],
    ),
    "fal-ai/veo3.1": (
        {
            "prompt": ("string", NEEDED, None),
            "aspect_ratio": ("string", "16:9", ["16:9", "9:16"]),
            "duration": ("string", "8s", ["4s", "6s", "8s"]),
            "negative_prompt": ("string", None, None),
            "resolution": ("string", "720p", ["720p", "1080p"]),
            "generate_audio": ("boolean", True, None),
            "seed": ("integer", None, None),
            "auto_fix": ("boolean", True, None),
        },
        [({"duration": "8s"}, "3.20"), ({"duration": "4s", "generate_audio": False}, "0.80")],
    ),
    "wan/v2.6/text-to-video": (
        {
            "prompt": ("string", NEEDED, None),
            "aspect_ratio": ("string", "16:9", ["16:9", "9:16", "1:1", "4:3", "3:4"]),
            "resolution": ("string", "1080p", ["720p", "1080p"]),
            "duration": ("string", "5", ["5", "10", "15"]),
            "negative_prompt": ("string", None, None),
            "seed": ("integer", None, None),
        },
        [
            ({"resolution": "720p", "duration": "10"}, "1.00"),
            ({"resolution": "1080p", "duration": "15"}, "2.25"),
        ],
    ),
    "fal-ai/minimax/hailuo-2.3/standard/text-to-video": (
        hailuo(),
        [({"duration": "6"}, "0.28"), ({"duration": "10"}, "0.56")],
    ),
    "fal-ai/minimax/hailuo-2.3/standard/image-to-video": (hailuo(image=True), [({"duration": "10"}, "0.56")]),
}
ROWS = [(page, name, row) for page, (rows, _) in PAGES.items() for name, row in rows.items()]
PRICES = [(page, given, price) for page, (_, prices) in PAGES.items() for given, price in prices]


def entry(page: str) -> Endpoint:
    return CATALOGUE.get(page, "fal")


def sold(page: str) -> SandboxEndpoint:
    return load_endpoints()["fal"][page]


def needed(page: str) -> dict[str, Any]:
    return {name: URL for name, row in PAGES[page][0].items() if row[1] == NEEDED and name != "prompt"}


def test_catalogue_and_sandbox_have_exactly_these_pages() -> None:
    assert {endpoint.id for endpoint in CATALOGUE if endpoint.provider == "fal"} == set(PAGES)
    assert set(load_endpoints()["fal"]) == set(PAGES)


@pytest.mark.parametrize(("page", "name", "row"), ROWS)
def test_a_parameter_equals_its_row(page: str, name: str, row: Row) -> None:
    kind, default, allowed = row
    ours, theirs = entry(page).parameters[name], sold(page).parameters[name]
    required, default = default == NEEDED, None if default == NEEDED else default
    assert (ours.type, ours.required, ours.default, ours.allowed) == (kind, required, default, allowed)
    sandbox = "string" if theirs.type in {"url", "picture"} else theirs.type
    assert (sandbox, theirs.required, theirs.default) == (kind, required, default)
    assert list(theirs.values) == (allowed or [])


@pytest.mark.parametrize("page", PAGES)
def test_neither_has_a_parameter_that_its_page_lacks(page: str) -> None:
    assert set(entry(page).parameters) == set(sold(page).parameters) == set(PAGES[page][0])


@pytest.mark.parametrize(("page", "given", "price"), PRICES)
def test_prices_equal_the_pages_to_the_cent(page: str, given: dict[str, Any], price: str) -> None:
    body = entry(page).resolve("a boat", {**needed(page), **given})
    assert entry(page).price(body) == usd(price)
    assert sold(page).cost(sold(page).read(body)) == usd(price)


def test_a_finish_costs_by_the_seconds_of_its_draft() -> None:
    maker = entry("bytedance/seedance-2.5/text-to-video")
    draft = maker.resolve("a boat", {**(maker.drafts.parameters if maker.drafts else {}), "duration": "8"})
    body = entry(FINISH).resolve("", {"draft_id": "d-1"})
    # 1080p has 48,600 tokens a second by its pixels; the page's own price per second corresponds to 49,744
    assert entry(FINISH).price(body, draft=draft) == usd("8.516")
    assert sold(FINISH).cost({**draft, **sold(FINISH).read(body)}) == usd("8.516")
    assert maker.price(draft) == usd("1.764")


@pytest.mark.parametrize("page", [page for page in PAGES if page != FINISH])
def test_a_default_order_has_a_length_and_a_price(page: str) -> None:
    body = entry(page).resolve("a boat", needed(page))
    assert entry(page).expected(body).duration in {5, 6, 8}
    assert entry(page).price(body) is not None


@pytest.mark.parametrize(
    ("page", "given"),
    [
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "480p"}),
        ("bytedance/seedance-2.0/image-to-video", {"resolution": "1080p"}),
        ("bytedance/seedance-2.5/text-to-video", {"duration": "auto"}),
    ],
)
def test_a_price_no_page_names_is_unknown_and_not_zero(page: str, given: dict[str, Any]) -> None:
    assert entry(page).price(entry(page).resolve("a boat", {**needed(page), **given})) is None


@pytest.mark.parametrize(("page", "seeded"), [(page, "seed" in rows) for page, (rows, _) in PAGES.items()])
def test_a_post_has_its_own_seed_if_the_page_has_one(page: str, seeded: bool) -> None:
    assert (entry(page).seed is not None) is seeded
