"""Drafts of a series: what is bought first, what finishes it, and mistakes in their place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resources.catalogue import Catalogue
from resources.file_references import FIRST_FRAME, FileReference
from resources.money import usd
from resources.orders import ClipRequest
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
SAME_DIRECTION = """\
name: city
endpoint: bytedance/seedance-2.0/text-to-video
provider: fal
parameters: {duration: 5, aspect_ratio: "16:9", resolution: 720p, generate_audio: false}
prompt: A street.
review: person
clips:
  - name: hero
  - name: wide
    parameters: {aspect_ratio: "21:9", duration: 10}
fallback:
  - endpoint: bytedance/seedance-2.5/text-to-video
draft:
  endpoint: bytedance/seedance-2.0/text-to-video
  provider: fal
  parameters: {resolution: 720p, duration: 4}
"""
SAME_SHOT = """\
name: city
endpoint: bytedance/seedance-2.5/draft/complete
provider: fal
prompt: A street.
review: person
clips: [{name: hero}, {name: wide}]
takes: 3
draft:
  endpoint: bytedance/seedance-2.5/text-to-video
  provider: fal
  parameters: {duration: 8, aspect_ratio: "9:16"}
"""


def load(folder: Path, text: str) -> Declarations:
    (folder / "series").mkdir(exist_ok=True)
    (folder / "series" / "city.yaml").write_text(text)
    return load_series(folder, CATALOGUE)


def request(folder: Path, text: str, clip: str = "hero") -> ClipRequest:
    declarations = load(folder, text)
    assert [str(problem) for problem in declarations.problems] == []
    return declarations.render(declarations.series["city"].clip(clip))


def test_a_series_buys_its_draft_and_the_request_carries_the_finish(tmp_path: Path) -> None:
    made = request(tmp_path, SAME_DIRECTION, "wide")
    assert made.is_draft
    assert (made.body["duration"], made.body["aspect_ratio"], made.fallbacks) == ("4", "21:9", ())
    finish = made.planned_finish
    assert finish is not None
    assert finish.finish is None
    assert (finish.body["duration"], finish.body["resolution"], finish.body["generate_audio"]) == (
        "10",
        "720p",
        False,
    )
    assert [choice.endpoint for choice in finish.fallbacks] == ["bytedance/seedance-2.5/text-to-video"]
    assert finish.price_micros == usd("3.034")
    straight = request(tmp_path, SAME_DIRECTION[: SAME_DIRECTION.index("draft:")], "wide")
    assert finish.fingerprint == straight.fingerprint, "a series without drafts later reuses the finish"


@pytest.mark.parametrize(("seed", "sent"), [(7, 7), (None, None), (2**40, None)])
def test_a_finish_in_the_same_direction_has_the_seed_of_its_draft(
    tmp_path: Path, seed: int | None, sent: int | None
) -> None:
    finish = request(tmp_path, SAME_DIRECTION).finishing("draft-1", draft_id=None, seed=seed)
    assert finish is not None
    assert finish.body.get("seed") == sent
    assert finish.finishes is not None
    assert finish.finishes.attempt == "draft-1"


def test_a_declared_seed_is_not_replaced(tmp_path: Path) -> None:
    text = SAME_DIRECTION.replace("generate_audio: false}", "generate_audio: false, seed: 5}")
    finish = request(tmp_path, text).finishing("draft-1", draft_id=None, seed=7)
    assert finish is not None
    assert finish.body["seed"] == 5


def test_a_draft_of_the_same_shot_is_finished_by_its_provider(tmp_path: Path) -> None:
    made = request(tmp_path, SAME_SHOT)
    assert (made.body["draft"], made.body["resolution"], made.takes) == (True, "480p", 3)
    assert made.price_micros == usd("1.764")
    assert made.finish is not None
    assert (made.finish.is_same_shot, made.finish.days) == (True, 7)
    finish = made.finishing("draft-1", draft_id="d-7", seed=3)
    assert finish is not None
    assert finish.body == {"draft_id": "d-7", "resolution": "1080p", "codec": "auto"}
    assert (finish.price_micros, finish.expected.duration, finish.expected.shape) == (
        usd("8.516"),
        8,
        "9:16",
    )
    assert finish.prompt == made.prompt == "A street.", "the prompt is shown, and not sent"
    other = made.finishing("draft-2", draft_id="d-8", seed=3)
    assert other is not None
    assert other.fingerprint != finish.fingerprint
    assert made.finishing("draft-1", draft_id=None, seed=3) is None


CASES: list[tuple[str, Any, str]] = [
    ("review: person\n", "", "`draft` needs `review: person`"),
    ("review: person\n", "review: {by: none}\n", "`draft` needs `review: person`"),
    ('aspect_ratio: "9:16"}', "resolution: 720p}", "found '720p', allowed: '480p' in a draft"),
    (
        "bytedance/seedance-2.5/draft/complete",
        "bytedance/seedance-2.5/text-to-video\nparameters: {duration: auto}",
        "has no price in the catalogue",
    ),
    (
        "  endpoint: bytedance/seedance-2.5/text-to-video",
        "  endpoint: bytedance/seedance-2.0/text-to-video",
        "does not finish what bytedance/seedance-2.0/text-to-video makes",
    ),
    (
        "  endpoint: bytedance/seedance-2.5/text-to-video",
        "  endpoint: bytedance/seedance-2.5/draft/complete",
        "finishes drafts and makes no clip of its own",
    ),
    ("takes: 3\n", "takes: 3\nparameters: {duration: 5}\n", "duration"),
]


@pytest.mark.parametrize(("old", "new", "problem"), CASES)
def test_a_draft_that_could_not_be_finished_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in SAME_SHOT
    found = load(tmp_path, SAME_SHOT.replace(old, new)).problems
    assert found
    assert problem in str(found[0])


def test_an_endpoint_that_finishes_drafts_needs_them(tmp_path: Path) -> None:
    without = SAME_SHOT[: SAME_SHOT.index("draft:\n")]
    (found,) = load(tmp_path, without).problems
    assert "say in `draft` which endpoint makes them" in str(found)
    fallback = f"{without}fallback: [{{endpoint: bytedance/seedance-2.5/draft/complete}}]\n".replace(
        "endpoint: bytedance/seedance-2.5/draft/complete\nprovider: fal\n",
        "endpoint: bytedance/seedance-2.0/text-to-video\nprovider: fal\n",
        1,
    )
    (found,) = load(tmp_path, fallback).problems
    assert "finishes drafts and makes no clip of its own" in str(found)


FROM_A_FRAME = SAME_DIRECTION.replace(
    "endpoint: bytedance/seedance-2.0/text-to-video\nprovider: fal",
    "endpoint: bytedance/seedance-2.0/image-to-video\nprovider: wavespeed",
    1,
)
FROM_A_FRAME = (
    FROM_A_FRAME[: FROM_A_FRAME.index("fallback:")]
    + FROM_A_FRAME[FROM_A_FRAME.index("draft:") :]
    + "  first_frame: image\n"
)


def test_a_finish_begins_with_the_first_frame_of_its_draft(tmp_path: Path) -> None:
    made = request(tmp_path, FROM_A_FRAME)
    assert "image" not in made.body
    assert made.finish is not None
    assert made.finish.first_frame
    assert made.finishing("draft-1", draft_id=None, seed=3) is None, "without the picture no finish is bought"
    frame = FileReference("frames/city-hero/a.png", "a" * 64, is_in_bucket=True)
    finish = made.finishing("draft-1", draft_id=None, seed=3, first_frame=frame)
    assert finish is not None
    assert finish.body["image"] == f"bucket:frames/city-hero/a.png#sha256={'a' * 64}"
    assert finish.price_micros == usd("1.20"), "the price of image to video"
    other = made.finishing("draft-2", draft_id=None, seed=3, first_frame=replace(frame, sha256="b" * 64))
    assert other is not None
    assert other.fingerprint != finish.fingerprint
    assert FIRST_FRAME in FileReference.of(made.finish.choice.body)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SAME_DIRECTION + "  first_frame: image\n", "is no image of bytedance/seedance-2.0/text-to-video"),
        (SAME_SHOT + "  first_frame: image\n", "finishes the very draft and needs no picture of it"),
        (FROM_A_FRAME.replace("first_frame: image", "first_frame: duration"), "'duration'"),
        (FROM_A_FRAME.replace("  first_frame: image\n", ""), "image"),
        (
            FROM_A_FRAME.replace("{duration: 5,", "{duration: 5, image: https://example.com/a.png,"),
            "is the first frame of the draft",
        ),
        (
            FROM_A_FRAME.replace("bytedance/seedance-2.0/image-to-video", "openai/sora-2-i2v")
            .replace("provider: wavespeed", "provider: aimlapi\nallow_retired: true")
            .replace("{duration: 5,", "{duration: 4,")
            .replace(", generate_audio: false", "")
            .replace('aspect_ratio: "21:9", duration: 10', "duration: 8"),
            "must have the size of the video",
        ),
    ],
)
def test_a_first_frame_that_cannot_be_used_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    found = load(tmp_path, text).problems
    assert found
    assert problem in str(found[0])


def bought_earlier(draft: ClipRequest, price: int) -> ClipRequest:
    """The same draft from a day on which its finish had another price."""
    assert draft.finish is not None
    ways = [
        way.model_copy(update={"price_micros": price})
        for way in (draft.finish.choice, *draft.finish.fallbacks)
    ]
    finish = draft.finish.model_copy(update={"choice": ways[0], "fallbacks": tuple(ways[1:])})
    return draft.model_copy(update={"finish": finish})


@pytest.mark.parametrize("text", [SAME_DIRECTION, SAME_SHOT])
def test_a_finish_has_the_present_price_whenever_its_draft_was_bought(tmp_path: Path, text: str) -> None:
    declarations = load(tmp_path, text)
    draft = declarations.render(declarations.series["city"].clip("hero"))
    earlier = bought_earlier(draft, usd("0.01"))
    assert earlier.planned_finish is not None
    assert earlier.planned_finish.price_micros == usd("0.01")
    assert declarations.renewed(earlier) == draft


def test_a_request_and_its_fallbacks_have_the_present_prices(tmp_path: Path) -> None:
    declarations = load(tmp_path, SAME_DIRECTION[: SAME_DIRECTION.index("draft:")])
    made = declarations.render(declarations.series["city"].clip("wide"))
    ways = [way.model_copy(update={"price_micros": usd("0.01")}) for way in made.fallbacks]
    earlier = made.model_copy(update={"price_micros": usd("0.01"), "fallbacks": tuple(ways)})
    assert earlier.ceiling_micros < made.ceiling_micros
    assert declarations.renewed(earlier) == made


def test_a_finish_that_has_left_the_catalogue_keeps_its_price(tmp_path: Path) -> None:
    declarations = load(tmp_path, SAME_SHOT)
    earlier = bought_earlier(declarations.render(declarations.series["city"].clip("hero")), usd("0.01"))
    assert replace(declarations, catalogue=Catalogue([])).renewed(earlier) == earlier
